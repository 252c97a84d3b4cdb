//! The [`Terminal`]: what lies between the programs on a terminal (its *replica* side) and whatever shows it (its *master*
//! side: a pty's other end, or a terminal of the host's).
//!
//! Locks: `state`, then nothing: wake-ups and signals are sent after it is released. `control` (see
//! [`super::job_control`]) is a leaf.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use abi::termios::{
    TIOCPKT_DOSTOP, TIOCPKT_FLUSHREAD, TIOCPKT_FLUSHWRITE, TIOCPKT_NOSTOP, TIOCPKT_START, TIOCPKT_STOP,
    Termios, VSTART, VSTOP, WinSize,
};
use abi::{DeviceId, Errno, Result, Signal};
use kernel::Kernel;
use kernel::time::{MonotonicTime, Timekeeper, Timer, TimerHandler};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::job_control::Control;
use super::{Effect, LineDiscipline, Reaction};

/// Output that the master has not read yet; writers wait above this.
const OUTPUT_SIZE: usize = 64 << 10;
/// Written bytes are processed in pieces of this size.
const PIECE: usize = 4096;

/// The host's side of a terminal, told of work instead of a master's descriptor.
pub(super) trait MasterSink: Send + Sync {
    /// There is output to show.
    fn output_ready(&self);

    /// There is room for input again.
    fn input_wanted(&self);

    /// The last program has closed the terminal.
    fn closed(&self);
}

/// What changes, all in one place.
#[derive(Default)]
pub(super) struct State {
    pub(super) discipline: LineDiscipline,
    pub(super) window: WinSize,
    output: VecDeque<u8>,
    /// Packet mode: news for the master.
    pub(super) packet: Option<u8>,
    /// `TIOCSPTLCK`: the replica cannot be opened yet.
    pub(super) is_locked: bool,
    /// `TIOCSLCKTRMIOS`: settings that cannot be changed.
    pub(super) locked: Option<Termios>,
    /// `TIOCEXCL`.
    pub(super) is_exclusive: bool,
    replicas: usize,
    was_opened: bool,
    is_hung_up: bool,
    /// A read with a time limit: bytes that were there when it began to wait, and until when.
    waiting: Option<(usize, MonotonicTime)>,
}

/// A terminal.
pub struct Terminal {
    pub(super) this: Weak<Self>,
    device: DeviceId,
    name: String,
    pub(super) state: Mutex<State>,
    pub(super) control: Mutex<Control>,
    /// Programs on the terminal wait here.
    pub(super) replica_queue: WaitQueue,
    /// The master's holder waits here.
    pub(super) master_queue: WaitQueue,
    sink: OnceLock<Weak<dyn MasterSink>>,
    timekeeper: Arc<Timekeeper>,
    timer: Arc<Timer>,
}

/// What a change of the state leads to once the lock is released.
#[derive(Default)]
struct After {
    signals: Vec<Signal>,
    replica: Events,
    master: Events,
}

impl Terminal {
    /// A terminal numbered `index`, without a size.
    pub(super) fn new(kernel: &Kernel, index: u32) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            device: DeviceId { major: super::PTS_MAJOR, minor: index },
            name: format!("pts/{index}"),
            state: Mutex::default(),
            control: Mutex::default(),
            replica_queue: WaitQueue::new(),
            master_queue: WaitQueue::new(),
            sink: OnceLock::new(),
            timekeeper: kernel.timekeeper.clone(),
            timer: kernel.timers.timer(this.clone()),
        })
    }

    /// Its device number.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.device
    }

    /// Its name below `/dev`.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_sink(&self, sink: Weak<dyn MasterSink>) {
        // Set once, before anybody uses the terminal.
        let _ = self.sink.set(sink);
    }

    /// Whether its other side is a terminal of the host.
    pub(super) fn is_the_hosts(&self) -> bool {
        self.sink.get().is_some()
    }

    fn sink(&self) -> Option<Arc<dyn MasterSink>> {
        self.sink.get().and_then(Weak::upgrade)
    }

    /// Wakes and signals whom a change concerns. No lock may be held.
    fn finish(&self, after: After) {
        for signal in after.signals {
            self.signal_foreground(signal);
        }
        if !after.replica.is_empty() {
            self.replica_queue.notify(after.replica);
        }
        if after.master.is_empty() {
            return;
        }
        self.master_queue.notify(after.master);
        if let Some(sink) = self.sink() {
            if after.master.contains(Events::IN) {
                sink.output_ready();
            }
            if after.master.contains(Events::OUT) {
                sink.input_wanted();
            }
        }
    }

    // --- The programs' side ---

    /// Counts one more open replica.
    pub(super) fn open_replica(&self, is_privileged: bool) -> Result<()> {
        let mut state = self.state.lock();
        if state.is_hung_up || state.is_locked {
            return Err(Errno::EIO);
        }
        if state.is_exclusive && state.replicas > 0 && !is_privileged {
            return Err(Errno::EBUSY);
        }
        state.replicas += 1;
        state.was_opened = true;
        Ok(())
    }

    pub(super) fn close_replica(&self) {
        let mut state = self.state.lock();
        state.replicas -= 1;
        let is_last = state.replicas == 0;
        if is_last {
            state.is_exclusive = false;
        }
        drop(state);
        if is_last {
            self.master_queue.notify(Events::READABLE | Events::HUP);
            if let Some(sink) = self.sink() {
                sink.closed();
            }
        }
    }

    /// Takes up to `max` bytes of input, as termios says; `EAGAIN` where there are none yet.
    pub(super) fn read_input(&self, max: usize, is_nonblocking: bool) -> Result<Vec<u8>> {
        let mut state = self.state.lock();
        if state.is_hung_up || max == 0 {
            return Ok(Vec::new());
        }
        let had_room = state.discipline.has_room();
        if state.discipline.is_canonical() {
            if state.discipline.readable() == 0 {
                return Err(Errno::EAGAIN);
            }
        } else {
            self.check_raw(&mut state, max, is_nonblocking)?;
        }
        let bytes = state.discipline.read(max);
        let master =
            if !had_room && state.discipline.has_room() { Events::WRITABLE } else { Events::empty() };
        drop(state);
        self.finish(After { master, ..After::default() });
        Ok(bytes)
    }

    /// `VMIN` and `VTIME`: whether a raw read is over.
    fn check_raw(&self, state: &mut State, max: usize, is_nonblocking: bool) -> Result<()> {
        let ready = state.discipline.readable();
        let (min, time) = state.discipline.min_time();
        let is_enough = if min == 0 { ready > 0 || time == 0 } else { ready >= min.min(max) };
        if is_enough || (is_nonblocking && ready > 0) {
            state.waiting = None;
            return Ok(());
        }
        let has_clock = time > 0 && (min == 0 || ready > 0) && !is_nonblocking;
        if !has_clock {
            state.waiting = None;
            return Err(Errno::EAGAIN);
        }
        let now = self.timekeeper.monotonic();
        match state.waiting {
            // With VMIN, each byte starts the clock anew.
            Some((before, until)) if before == ready => {
                if now >= until {
                    state.waiting = None;
                    return Ok(());
                }
            }
            _ => {
                let until = now.saturating_add(i64::from(time) * 100_000_000);
                state.waiting = Some((ready, until));
                self.timer.set(Some(until));
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Writes what a program wrote, a piece at a time from `take`.
    pub(super) fn write_output(
        &self,
        len: usize,
        take: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut done = 0;
        let mut buffer = [0; PIECE];
        while done < len {
            let want = (len - done).min(PIECE);
            {
                let state = self.state.lock();
                if state.is_hung_up {
                    return Err(Errno::EIO);
                }
                if state.discipline.is_stopped() || state.output.len() >= OUTPUT_SIZE {
                    break;
                }
            }
            // Guest memory is read without the lock.
            let count = match take(&mut buffer[..want]) {
                Ok(count) => count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            let mut state = self.state.lock();
            let mut processed = Vec::with_capacity(count + 16);
            state.discipline.process_output(&buffer[..count], &mut processed);
            state.output.extend(processed);
            drop(state);
            done += count;
            self.finish(After { master: Events::READABLE, ..After::default() });
            if count < want {
                break;
            }
        }
        if done == 0 && len > 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    /// What the programs' side is ready for.
    pub(super) fn poll_replica(&self) -> Events {
        let state = self.state.lock();
        if state.is_hung_up {
            return Events::READABLE | Events::WRITABLE | Events::HUP | Events::ERR;
        }
        let (min, time) = state.discipline.min_time();
        let wanted = if state.discipline.is_canonical() || time > 0 { 1 } else { min.max(1) };
        let mut events = Events::empty();
        if state.discipline.readable() >= wanted {
            events |= Events::READABLE;
        }
        if !state.discipline.is_stopped() && state.output.len() < OUTPUT_SIZE {
            events |= Events::WRITABLE;
        }
        events
    }

    /// Changes the settings; `flushes` drops unread input.
    pub(super) fn set_termios(&self, termios: Termios, flushes: bool) {
        let mut state = self.state.lock();
        let before = *state.discipline.termios();
        if flushes {
            state.discipline.flush_input();
        }
        let mut after = After::default();
        if state.discipline.set_termios(termios) {
            after.replica |= Events::WRITABLE;
        }
        // What was a line may be readable bytes now.
        after.replica |= Events::READABLE;
        let flow = |t: &Termios| {
            t.c_iflag & abi::termios::IXON != 0 && t.c_cc[VSTART] == 0o21 && t.c_cc[VSTOP] == 0o23
        };
        if flow(&before) != flow(&termios) {
            let news = if flow(&termios) { TIOCPKT_DOSTOP } else { TIOCPKT_NOSTOP };
            after.master |= add_news(&mut state, news, TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
        }
        drop(state);
        self.finish(after);
    }

    /// Stops output or lets it go on (`TCXONC`, Ctrl-S and Ctrl-Q).
    pub(super) fn set_stopped(&self, stopped: bool) {
        let mut state = self.state.lock();
        let mut after = After::default();
        if state.discipline.set_stopped(stopped) {
            let news = if stopped { TIOCPKT_STOP } else { TIOCPKT_START };
            after.master |= add_news(&mut state, news, TIOCPKT_STOP | TIOCPKT_START);
            after.replica |= if stopped { Events::empty() } else { Events::WRITABLE };
        }
        drop(state);
        self.finish(after);
    }

    /// Drops unread input.
    pub(super) fn flush_input(&self) {
        let mut state = self.state.lock();
        state.discipline.flush_input();
        let news = add_news(&mut state, TIOCPKT_FLUSHREAD, 0);
        drop(state);
        self.finish(After { master: news | Events::WRITABLE, ..After::default() });
    }

    /// Drops output that has not been shown.
    pub(super) fn flush_output(&self) {
        let mut state = self.state.lock();
        state.output.clear();
        let master = add_news(&mut state, TIOCPKT_FLUSHWRITE, 0);
        drop(state);
        self.finish(After { master, replica: Events::WRITABLE, ..After::default() });
    }

    // --- The master's side ---

    /// Takes typed bytes; returns how many there was room for.
    pub fn type_in(&self, bytes: &[u8]) -> Result<usize> {
        let mut state = self.state.lock();
        let mut reaction = Reaction::default();
        let count = state.discipline.receive(bytes, &mut reaction);
        let mut after = After { replica: Events::READABLE, ..After::default() };
        for effect in &reaction.effects {
            match effect {
                Effect::Signal(signal) => after.signals.push(*signal),
                Effect::FlushOutput => {
                    state.output.clear();
                    after.master |= add_news(&mut state, TIOCPKT_FLUSHWRITE, 0);
                    after.replica |= Events::WRITABLE;
                }
                Effect::FlushedInput => after.master |= add_news(&mut state, TIOCPKT_FLUSHREAD, 0),
                Effect::Stopped => {
                    after.master |= add_news(&mut state, TIOCPKT_STOP, TIOCPKT_STOP | TIOCPKT_START);
                }
                Effect::Started => {
                    after.master |= add_news(&mut state, TIOCPKT_START, TIOCPKT_STOP | TIOCPKT_START);
                    after.replica |= Events::WRITABLE;
                }
            }
        }
        // A master that never reads loses echo rather than hold our memory.
        if !reaction.echo.is_empty() && state.output.len() < 2 * OUTPUT_SIZE {
            state.output.extend(reaction.echo);
            after.master |= Events::READABLE;
        }
        drop(state);
        self.finish(after);
        if count == 0 && !bytes.is_empty() { Err(Errno::EAGAIN) } else { Ok(count) }
    }

    /// Whether typed bytes would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().discipline.has_room()
    }

    /// Up to `max` bytes of output, which stay until [`Self::consume_output`].
    pub(super) fn peek_output(&self, max: usize) -> Vec<u8> {
        self.state.lock().output.iter().take(max).copied().collect()
    }

    /// Removes output that has been shown.
    pub(super) fn consume_output(&self, count: usize) {
        let mut state = self.state.lock();
        let was_full = state.output.len() >= OUTPUT_SIZE;
        let count = count.min(state.output.len());
        state.output.drain(..count);
        let replica =
            if was_full && state.output.len() < OUTPUT_SIZE { Events::WRITABLE } else { Events::empty() };
        drop(state);
        self.finish(After { replica, ..After::default() });
    }

    /// What the master's read(2) gives: in packet mode with a byte of news before it. `EIO` once all programs have
    /// closed the terminal.
    pub(super) fn read_master(&self, max: usize) -> Result<Vec<u8>> {
        let mut state = self.state.lock();
        let mut bytes = Vec::new();
        if let Some(news) = &mut state.packet {
            let told = std::mem::take(news);
            bytes.push(told);
            if told != 0 {
                return Ok(bytes);
            }
        }
        if state.output.is_empty() {
            let is_over = state.was_opened && state.replicas == 0;
            return Err(if is_over { Errno::EIO } else { Errno::EAGAIN });
        }
        let count = state.output.len().min(max.saturating_sub(bytes.len()));
        let was_full = state.output.len() >= OUTPUT_SIZE;
        bytes.extend(state.output.drain(..count));
        let replica =
            if was_full && state.output.len() < OUTPUT_SIZE { Events::WRITABLE } else { Events::empty() };
        drop(state);
        self.finish(After { replica, ..After::default() });
        Ok(bytes)
    }

    /// What the master's side is ready for.
    pub(super) fn poll_master(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::empty();
        if !state.output.is_empty() {
            events |= Events::READABLE;
        }
        if state.packet.is_some_and(|news| news != 0) {
            events |= Events::READABLE | Events::PRI;
        }
        if state.discipline.has_room() {
            events |= Events::WRITABLE;
        }
        if state.was_opened && state.replicas == 0 {
            events |= Events::HUP | Events::READABLE;
        }
        events
    }

    /// Bytes of output waiting for the master.
    pub(super) fn output_len(&self) -> usize {
        self.state.lock().output.len()
    }

    /// The master has gone, or somebody cuts the programs off: reads end, writes fail, the session's leader is told.
    pub fn hang_up_all(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_hung_up, true) {
            return;
        }
        drop(state);
        self.signal_hang_up();
        let all = Events::READABLE | Events::WRITABLE | Events::HUP | Events::ERR;
        self.replica_queue.notify(all);
        self.master_queue.notify(all);
    }

    /// Whether it has been hung up.
    pub(super) fn is_hung_up(&self) -> bool {
        self.state.lock().is_hung_up
    }

    /// Sets the window's size; the foreground hears of a change.
    pub(super) fn set_window(&self, window: WinSize) {
        let changed = std::mem::replace(&mut self.state.lock().window, window) != window;
        if changed {
            self.signal_foreground(Signal::WINCH);
        }
    }
}

/// Notes news for a master in packet mode, instead of those in `clear`; says whom to wake.
fn add_news(state: &mut State, news: u8, clear: u8) -> Events {
    match &mut state.packet {
        Some(pending) => {
            *pending = (*pending & !clear) | news;
            Events::READABLE | Events::PRI
        }
        None => Events::empty(),
    }
}

impl TimerHandler for Terminal {
    /// A read's time is up: it looks for itself.
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        self.replica_queue.notify(Events::READABLE);
        None
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Terminal({})", self.name)
    }
}
