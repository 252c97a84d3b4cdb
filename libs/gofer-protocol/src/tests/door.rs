//! Taking turns at the door: who lets the server go, and what becomes of what nobody waits for.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use abi::Errno;
use host::unix::{Kind, pair};

use super::lying_server::{STAT_FS, Way, client_of, reply, server};
use crate::*;

const CLOSE: Close = Close { nodes: Vec::new() };

/// A server that tells of each `Close` that it has read, and answers the rest.
fn counting() -> (Client, Receiver<()>) {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    limit_waits(ours.as_fd()).unwrap();
    let (tell, told) = channel();
    server(theirs, Way::Door, move |transport, frame| {
        if frame.header.op == Op::Close as u16 {
            return tell.send(()).is_ok();
        }
        reply(transport, &frame, &frame.header.id.to_le_bytes())
    });
    (Client::connect(ours).unwrap().0, told)
}

/// Waits until the server has read so many. On a machine that is very busy, that may be with the next call.
fn await_all(client: &Client, told: &Receiver<()>, count: usize) {
    for _ in 0..count {
        if told.recv_timeout(Duration::from_secs(2)).is_err() {
            client.call(&STAT_FS).unwrap();
            told.recv_timeout(Duration::from_secs(20)).expect("the server reads it");
        }
    }
}

#[test]
fn what_nobody_waits_for_is_read() {
    let (client, told) = counting();
    // One by one, in a row, and after a call.
    client.forget(&CLOSE);
    await_all(&client, &told, 1);
    for _ in 0..5 {
        client.forget(&CLOSE);
    }
    client.call(&STAT_FS).unwrap();
    client.forget(&CLOSE);
    await_all(&client, &told, 6);
    assert!(client.state_is_empty());
}

#[test]
fn what_nobody_waits_for_is_read_when_others_call() {
    let (client, told) = counting();
    let client = Arc::new(client);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let client = Arc::clone(&client);
            thread::spawn(move || {
                for _ in 0..200 {
                    if number == 0 {
                        client.forget(&CLOSE);
                    } else {
                        client.call(&STAT_FS).unwrap();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    await_all(&client, &told, 200);
    assert!(client.state_is_empty());
}

#[test]
fn a_full_queue_is_emptied() {
    let (client, told) = counting();
    let long = Close { nodes: vec![Forget { node: NodeId(1), count: 1 }; 4000] };
    for _ in 0..50 {
        client.forget(&long);
    }
    client.call(&STAT_FS).unwrap();
    await_all(&client, &told, 50);
}

#[test]
fn a_server_that_comes_back_without_an_answer_is_given_up() {
    let client = client_of(Way::Door, |_, _| true);
    assert_eq!(client.call(&STAT_FS).unwrap_err(), Errno::EIO);
    assert!(client.is_closed());
}

#[test]
fn a_server_at_its_door_learns_of_the_end() {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let thread = server(theirs, Way::Door, |transport, frame| reply(transport, &frame, b""));
    let (client, ..) = Client::connect(ours).unwrap();
    client.call(&STAT_FS).unwrap();
    drop(client);
    thread.join().unwrap();
    // Also where the client has had enough of it.
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let thread =
        server(theirs, Way::Door, |transport, frame| transport.send(&frame.header, b"", &[]).is_ok());
    let (client, ..) = Client::connect(ours).unwrap();
    assert_eq!(client.call(&STAT_FS).unwrap_err(), Errno::EIO);
    thread.join().unwrap();
}
