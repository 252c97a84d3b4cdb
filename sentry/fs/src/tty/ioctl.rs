//! ioctl(2) on terminals (`man 2 ioctl_tty`).

use std::sync::Arc;

use abi::termios::*;
use abi::{Errno, Result, Signal, UserAddr};
use kernel::Task;
use kernel::task::Capability;

use super::{Terminal, settings};

/// Through which side the command comes. Settings are the replica's in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Replica,
    Master,
}

/// Carries out a command that both sides know.
pub(super) fn ioctl(
    terminal: &Arc<Terminal>,
    task: &Task,
    side: Side,
    command: u32,
    arg: u64,
) -> Result<u64> {
    if side == Side::Replica && terminal.is_hung_up() {
        return Err(Errno::EIO);
    }
    if changes_settings(command) && side == Side::Replica {
        terminal.check_background(task, Signal::TTOU)?;
    }
    match command {
        TCGETS | TCGETS2 | TCSETS | TCSETSW | TCSETSF | TCSETS2 | TCSETSW2 | TCSETSF2 | TCGETA | TCSETA
        | TCSETAW | TCSETAF | TIOCGLCKTRMIOS | TIOCSLCKTRMIOS => {
            settings::ioctl(terminal, task, command, UserAddr(arg))
        }
        TIOCSCTTY | TIOCNOTTY | TIOCGPGRP | TIOCSPGRP | TIOCGSID => {
            job_control(terminal, task, side, command, arg)
        }
        TCXONC | TCFLSH => flow(terminal, side, command, arg),
        _ => other(terminal, task, side, command, arg),
    }
}

/// Commands that stop a background process (`tty_check_change` of Linux).
fn changes_settings(command: u32) -> bool {
    matches!(
        command,
        TCSETS
            | TCSETSW
            | TCSETSF
            | TCSETS2
            | TCSETSW2
            | TCSETSF2
            | TCSETA
            | TCSETAW
            | TCSETAF
            | TIOCSLCKTRMIOS
            | TCXONC
            | TCFLSH
            | TCSBRK
            | TCSBRKP
            | TIOCSBRK
            | TIOCCBRK
            | TIOCSETD
    )
}

fn job_control(terminal: &Terminal, task: &Task, side: Side, command: u32, arg: u64) -> Result<u64> {
    let mm = task.mm();
    // Through the master anybody may ask, through the replica only who is controlled by it.
    let may_ask = side == Side::Master || terminal.controls(task);
    match command {
        TIOCSCTTY => terminal.set_controlling(task, arg == 1)?,
        TIOCNOTTY => terminal.give_up(task)?,
        TIOCSPGRP => terminal.set_foreground(task, mm.read_object(UserAddr(arg))?)?,
        _ if !may_ask => return Err(Errno::ENOTTY),
        TIOCGPGRP => mm.write_object(UserAddr(arg), &terminal.foreground_number(task))?,
        _ => {
            let session = terminal.session().ok_or(Errno::ENOTTY)?;
            mm.write_object(UserAddr(arg), &session.number_in(&task.pid_ns()))?;
        }
    }
    Ok(0)
}

fn flow(terminal: &Terminal, side: Side, command: u32, arg: u64) -> Result<u64> {
    match (command, arg) {
        (TCXONC, TCOOFF) => terminal.set_stopped(true),
        (TCXONC, TCOON) => terminal.set_stopped(false),
        // The character that stops or starts the other end; a pty's other end reads it as output.
        (TCXONC, TCIOFF | TCION) => {
            let index = if arg == TCIOFF { VSTOP } else { VSTART };
            let byte = terminal.state.lock().discipline.termios().c_cc[index];
            if byte != 0 {
                // Nobody waits for room here: a full buffer loses it, as on a real line.
                let _ = terminal.write_output(1, &mut |to| {
                    to[0] = byte;
                    Ok(1)
                });
            }
        }
        (TCFLSH, TCIFLUSH) if side == Side::Replica => terminal.flush_input(),
        (TCFLSH, TCOFLUSH) if side == Side::Replica => terminal.flush_output(),
        (TCFLSH, TCIFLUSH) => terminal.flush_output(),
        (TCFLSH, TCOFLUSH) => terminal.flush_input(),
        (TCFLSH, TCIOFLUSH) => {
            terminal.flush_input();
            terminal.flush_output();
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn other(terminal: &Terminal, task: &Task, side: Side, command: u32, arg: u64) -> Result<u64> {
    let mm = task.mm();
    let addr = UserAddr(arg);
    match command {
        TIOCGWINSZ => {
            let window = terminal.state.lock().window;
            mm.write_object(addr, &window)?;
        }
        TIOCSWINSZ => terminal.set_window(mm.read_object(addr)?),
        FIONREAD => {
            let count = match side {
                Side::Replica => terminal.state.lock().discipline.input_len(),
                Side::Master => terminal.output_len(),
            };
            mm.write_object(addr, &i32::try_from(count).unwrap_or(i32::MAX))?;
        }
        TIOCOUTQ | TIOCGETD => mm.write_object(addr, &0_i32)?,
        TIOCSETD => {
            let discipline: i32 = mm.read_object(addr)?;
            if discipline != 0 {
                return Err(Errno::EINVAL);
            }
        }
        TIOCEXCL => terminal.state.lock().is_exclusive = true,
        TIOCNXCL => terminal.state.lock().is_exclusive = false,
        TIOCGEXCL => {
            let is_exclusive = terminal.state.lock().is_exclusive;
            mm.write_object(addr, &i32::from(is_exclusive))?;
        }
        TIOCGSOFTCAR => {
            const CLOCAL: u32 = 0o4000;
            let is_local = terminal.state.lock().discipline.termios().c_cflag & CLOCAL != 0;
            mm.write_object(addr, &i32::from(is_local))?;
        }
        TIOCGDEV => {
            let device = u32::try_from(terminal.device_id().encode()).unwrap_or(0);
            mm.write_object(addr, &device)?;
        }
        // Breaks have no line to travel on, and everything written has been sent.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK | TIOCSSOFTCAR => {}
        // Typing for others is how programs escape from su(1): refused, as Linux does by default since 6.2.
        TIOCSTI => return Err(Errno::EIO),
        TIOCVHANGUP => {
            if !task.creds().capable(Capability::SysAdmin) {
                return Err(Errno::EPERM);
            }
            terminal.hang_up_all();
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}
