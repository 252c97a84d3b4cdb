//! Events: what containerd is told without asking.
//!
//! They go to containerd's ttrpc socket, in order, by a thread of their own. While containerd restarts they wait and
//! are tried again for a while. A container engine without that socket (CRI-O) gets none; with the address of
//! containerd's other socket alone, its program publishes them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::protobuf::MessageFull;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::{Client, EventsClient, protobuf::Message, ttrpc};

use crate::error::{Context, Result};
use crate::log;
use crate::reaper::Reaper;

/// How long containerd may take to accept an event.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before each new attempt: containerd may be restarting.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
];

/// Where events go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destination {
    /// containerd's ttrpc socket (`TTRPC_ADDRESS`).
    pub(crate) ttrpc: String,
    /// containerd's program, which publishes where there is no such socket.
    pub(crate) program: String,
    /// The address that the program is told.
    pub(crate) grpc: String,
}

/// Tells containerd.
#[derive(Debug)]
pub(crate) struct Publisher {
    namespace: String,
    queue: Mutex<Option<Sender<Envelope>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Publisher {
    /// Starts the thread.
    pub(crate) fn start(namespace: &str, destination: Destination, reaper: Reaper) -> Result<Self> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("events".into())
            .spawn(move || Forwarder { destination, reaper, client: None }.run(&receiver))
            .context("cannot start the publisher of events")?;
        Ok(Self {
            namespace: namespace.into(),
            queue: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Publishes an event.
    pub(crate) fn publish<M: MessageFull>(&self, topic: &str, event: &M) {
        let any = match any_of(event) {
            Ok(any) => any,
            Err(error) => return log::warning(format_args!("event {topic} cannot be encoded: {error}")),
        };
        let envelope = Envelope {
            timestamp: Some(timestamp(SystemTime::now())).into(),
            namespace: self.namespace.clone(),
            topic: topic.into(),
            event: Some(any).into(),
            ..Envelope::default()
        };
        if let Ok(queue) = self.queue.lock()
            && let Some(sender) = &*queue
        {
            let _ = sender.send(envelope);
        }
    }

    /// Waits until everything is told, or was tried to.
    pub(crate) fn finish(&self) {
        let thread =
            |lock: &Mutex<Option<JoinHandle<()>>>| lock.lock().ok().and_then(|mut thread| thread.take());
        if let Ok(mut queue) = self.queue.lock() {
            queue.take();
        }
        if let Some(thread) = thread(&self.thread) {
            let _ = thread.join();
        }
    }
}

/// A message with its name.
pub(crate) fn any_of<M: MessageFull>(message: &M) -> Result<Any> {
    let value = message.write_to_bytes().context("cannot encode a message")?;
    Ok(Any { type_url: M::descriptor().full_name().into(), value, ..Any::default() })
}

/// A time as messages have it.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().cast_signed(),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}

struct Forwarder {
    destination: Destination,
    reaper: Reaper,
    client: Option<EventsClient>,
}

impl Forwarder {
    fn run(&mut self, queue: &Receiver<Envelope>) {
        for envelope in queue {
            let topic = envelope.topic.clone();
            if let Err(error) = self.deliver(envelope) {
                log::warning(format_args!("event {topic} was not published: {error}"));
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) -> Result<()> {
        if self.destination.ttrpc.is_empty() {
            return self.hand_to_program(&envelope);
        }
        let request = ForwardRequest { envelope: Some(envelope).into(), ..ForwardRequest::default() };
        let mut outcome = Ok(());
        for pause in PAUSES {
            std::thread::sleep(pause);
            outcome = self.forward(&request);
            match &outcome {
                // Refused, not lost: another attempt would not change that.
                Ok(()) | Err(ttrpc::Error::RpcStatus(_)) => break,
                Err(_) => self.client = None,
            }
        }
        outcome.context("containerd does not take it")
    }

    fn forward(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        let client = match self.client.take() {
            Some(client) => client,
            None => EventsClient::new(Client::connect(&format!("unix://{}", self.destination.ttrpc))?),
        };
        let context = ttrpc::context::with_duration(TIMEOUT);
        let outcome = client.forward(context, request);
        self.client = Some(client);
        outcome.map(|_| ())
    }

    fn hand_to_program(&self, envelope: &Envelope) -> Result<()> {
        if self.destination.program.is_empty() || self.destination.grpc.is_empty() {
            return Ok(());
        }
        let what = "cannot run the program that publishes events";
        let (reader, mut writer) = std::io::pipe().context(what)?;
        let mut command = Command::new(&self.destination.program);
        command.arg("--address").arg(&self.destination.grpc);
        command.args(["publish", "--topic", &envelope.topic, "--namespace", &envelope.namespace]);
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = self.reaper.spawn(&mut command).context(what)?;
        drop(command);
        let bytes = envelope.event.write_to_bytes().context(what)?;
        writer.write_all(&bytes).context(what)?;
        drop(writer);
        match ended.recv().map_or(1, |exit| exit.status) {
            0 => Ok(()),
            status => Err(crate::error::Failure::other(what, format_args!("exit status {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::events::task::TaskOOM;

    #[test]
    fn events_have_containerds_names() {
        let event = TaskOOM { container_id: "c".into(), ..TaskOOM::default() };
        let any = super::any_of(&event).unwrap();
        assert_eq!(
            (any.type_url.as_str(), any.value.as_slice()),
            ("containerd.events.TaskOOM", &b"\n\x01c"[..])
        );
    }
}
