//! A bus that is made up, and properties.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;

use super::super::path::UnitName;
use super::bus::{Bus, CallFailure};
use super::message::{Kind, Message, Value, Writer, call};
use super::{Unit, Version, bits, manager, per_second, properties, stop_on};

/// A message of a bus: of a kind, with fields (code, signature, text or number) and a body of texts.
fn answer(kind: Kind, reply_to: u32, name: &str, texts: &[&str]) -> Vec<u8> {
    let (mut fields, mut body) = (Vec::new(), Vec::new());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.bytes().chain([0]));
    };
    fields.extend([5, 1, b'u', 0]);
    fields.extend(reply_to.to_le_bytes());
    fields.extend([if kind == Kind::Error { 4 } else { 3 }, 1, b's', 0]);
    text(&mut fields, name);
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend([8, 1, b'g', 0, texts.len() as u8]);
    fields.extend(std::iter::repeat_n(b's', texts.len()).chain([0]));
    texts.iter().for_each(|one| text(&mut body, one));
    let mut bytes = vec![b'l', kind as u8, 0, 1];
    [body.len(), 77, fields.len()].iter().for_each(|n| bytes.extend((*n as u32).to_le_bytes()));
    bytes.extend(&fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

#[test]
fn a_talk_with_a_bus() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let bus = std::thread::spawn(move || {
        let mut stream = BufReader::new(theirs);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "\0AUTH EXTERNAL 3130\r\n");
        stream.get_mut().write_all(b"OK 0123\r\n").unwrap();
        line.clear();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "BEGIN\r\n");
        let mut names = Vec::new();
        let answers = [
            answer(Kind::Return, 1, "", &[":1.1"]),
            [answer(Kind::Signal, 0, "JobRemoved", &["a"]), answer(Kind::Return, 2, "", &["/job"])].concat(),
            answer(Kind::Error, 3, "org.example.NoSuchUnit", &["it is gone"]),
        ];
        for answer in answers {
            let message = Message::read(&mut stream).unwrap();
            assert_eq!(message.kind, Kind::Call);
            names.push((message.name.clone(), message.values()));
            stream.get_mut().write_all(&answer).unwrap();
        }
        stream.get_mut().write_all(&answer(Kind::Signal, 0, "JobRemoved", &["b", "done"])).unwrap();
        names
    });
    let mut client = Bus::on(ours, 10).unwrap();
    let mut body = Writer::default();
    body.text("x.scope");
    assert_eq!(client.call(manager("Start"), "s", &body).unwrap(), ["/job"]);
    let failure = client.call(manager("Stop"), "s", &body).unwrap_err();
    let CallFailure::Refused(name, why) = failure else { panic!("not refused") };
    assert_eq!((name.as_str(), why.as_str()), ("org.example.NoSuchUnit", "it is gone"));
    assert_eq!(client.wait("JobRemoved", |values| values[0] == "b").unwrap(), ["b", "done"]);
    let calls: Vec<_> = bus.join().unwrap();
    let argument = || vec!["x.scope".to_string()];
    assert_eq!(
        calls,
        [("Hello".into(), vec![]), ("Start".to_string(), argument()), ("Stop".into(), argument())]
    );
}

/// The answer to a question for a property: a variant of a text.
fn property(reply_to: u32, text: &str) -> Vec<u8> {
    let mut whole = answer(Kind::Return, reply_to, "", &[text]);
    let body = whole.split_off(whole.len() - text.len() - 5);
    let signature = whole.iter().rposition(|byte| *byte == b's').unwrap();
    whole[signature] = b'v';
    whole[4..8].copy_from_slice(&(body.len() as u32 + 4).to_le_bytes());
    whole.extend([1, b's', 0, 0]);
    whole.extend(body);
    whole
}

/// What a bus that gives `answers` is asked when a unit is to be stopped.
fn asked_to_stop(unit: &Unit, answers: Vec<Vec<u8>>) -> Vec<String> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let bus = std::thread::spawn(move || {
        let mut stream = BufReader::new(theirs);
        stream.read_line(&mut String::new()).unwrap();
        stream.get_mut().write_all(b"OK 0123\r\n").unwrap();
        stream.read_line(&mut String::new()).unwrap();
        let mut names = Vec::new();
        for answer in [answer(Kind::Return, 1, "", &[":1.1"])].into_iter().chain(answers) {
            names.push(Message::read(&mut stream).unwrap().name);
            stream.get_mut().write_all(&answer).unwrap();
        }
        names
    });
    stop_on(&mut Bus::on(ours, 0).unwrap(), unit).unwrap();
    bus.join().unwrap()
}

#[test]
fn only_a_unit_of_ours_is_stopped() {
    let name = UnitName { slice: "a.slice".into(), name: "c.scope".into() };
    let unit = Unit::new(&name);
    assert_ne!(unit, Unit::new(&name));
    let found = || answer(Kind::Return, 2, "", &["/unit/c"]);
    let gone = answer(Kind::Error, 2, "org.freedesktop.systemd1.NoSuchUnit", &["it is gone"]);
    assert_eq!(asked_to_stop(&unit, vec![gone]), ["Hello", "GetUnit"]);
    let others = vec![found(), property(3, "container c.scope")];
    assert_eq!(asked_to_stop(&unit, others), ["Hello", "GetUnit", "Get"]);
    let done = |reply_to| answer(Kind::Return, reply_to, "", &[]);
    let ours = vec![found(), property(3, &unit.description), done(4), done(5)];
    assert_eq!(asked_to_stop(&unit, ours), ["Hello", "GetUnit", "Get", "StopUnit", "ResetFailedUnit"]);
}

#[test]
fn a_bus_that_refuses_or_talks_nonsense() {
    for (said, expected) in
        [("REJECTED\r\n", "REJECTED"), ("OK 1\r\nB\u{1}\u{1}\u{1}0123456789012", "no message")]
    {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said.as_bytes()).unwrap();
        let error = Bus::on(ours, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn broken_messages_are_refused() {
    let whole = answer(Kind::Signal, 1, "Some", &["text"]);
    assert_eq!(Message::read(&mut &whole[..]).unwrap().values(), ["text"]);
    for at in 0..whole.len() {
        assert!(Message::read(&mut &whole[..at]).is_err(), "cut at {at}");
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            // Whatever it says, it says it without a panic.
            if let Ok(message) = Message::read(&mut &changed[..]) {
                let _ = message.values();
            }
        }
    }
}

#[test]
fn calls_have_the_specified_form() {
    let mut body = Writer::default();
    body.text("u");
    body.properties(&[("A", Value::Bool(true)), ("B", Value::Number(7)), ("P", Value::Pids(vec![3]))]);
    body.no_units();
    let bytes = call(9, manager("M"), "sa(sv)a(sa(sv))", &body);
    let message = Message::read(&mut &bytes[..]).unwrap();
    assert_eq!((message.kind, message.name.as_str(), message.values()), (Kind::Call, "M", vec!["u".into()]));
    // The body ends with the empty array: its length, and the padding before the element that is not there.
    let expected = [
        &[1, 0, 0, 0, b'u', 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 0, 0, 0, b'A', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0],
        &[1, 0, 0, 0, b'B', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, b'P', 0, 2, b'a', b'u', 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0],
        &[0, 0, 0, 0],
    ]
    .concat();
    assert!(bytes.ends_with(&expected), "{bytes:?}");
}

#[test]
fn limits_are_properties() {
    let resources = json!({
        "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0,9"},
        "pids": {"limit": -1},
    });
    let number = Value::Number;
    assert_eq!(
        properties(&resources, Version::Two),
        [
            ("MemoryMax", number(1000)),
            ("MemoryLow", number(500)),
            ("MemorySwapMax", number(500)),
            ("CPUWeight", number(39)),
            ("CPUQuotaPeriodUSec", number(100_000)),
            ("CPUQuotaPerSecUSec", number(500_000)),
            ("TasksMax", number(u64::MAX)),
            ("AllowedCPUs", Value::Bytes(vec![1, 2])),
        ]
    );
    assert_eq!(
        properties(&json!({"memory": {"limit": -1}, "cpu": {"shares": 2}}), Version::One),
        [("MemoryLimit", number(u64::MAX)), ("CPUShares", number(2))]
    );
    assert!(properties(&json!({"memory": {"limit": 0}}), Version::Two).is_empty());
    assert_eq!((per_second(u64::MAX, None), per_second(33_333, None)), (u64::MAX, 340_000));
    assert_eq!(bits(&[]), Vec::<u8>::new());
}
