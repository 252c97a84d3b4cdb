//! Batches as guests could send them, valid and broken.

use abi::netlink::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_MIN_TYPE};
use abi::{Errno, Result};
use netstack::netfilter::ruleset::{IPV4, Ruleset};
use netstack::netfilter::set::MAP;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::message::{Body, Replies, Request, Requests};
use super::attributes::{LIST_ELEM, be32, be64};
use super::{HEADER, Message, Transaction, kind, message_type, tell};

/// The requests of a batch, in a row.
#[derive(Default)]
struct Batch(Vec<u8>);

impl Batch {
    fn ask(mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body<'_>)) -> Self {
        let mut message = Replies::to(0, 0);
        message.message(message_type(kind), NLM_F_REQUEST | flags, |body| {
            body.put(&[IPV4, 0, 0, 0]);
            fill(body);
        });
        self.0.extend(message.finish().unwrap().concat());
        self
    }

    fn table(self, kind: u16) -> Self {
        self.ask(kind, NLM_F_CREATE, |body| {
            body.attr_text(1, "t");
        })
    }

    fn chain(self, name: &str, id: Option<u32>) -> Self {
        self.ask(kind::NEWCHAIN, NLM_F_CREATE, |body| {
            body.attr_text(1, "t").attr_text(3, name);
            if let Some(id) = id {
                be32(body, 11, id);
            }
        })
    }

    /// A rule for the chain of a number.
    fn rule(self, id: u32, fill: impl FnOnce(&mut Body<'_>)) -> Self {
        self.ask(kind::NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
            body.attr_text(1, "t");
            be32(body, 11, id);
            body.nest(4, fill);
        })
    }

    /// A map from addresses to verdicts.
    fn map(self, userdata: usize) -> Self {
        self.ask(kind::NEWSET, NLM_F_CREATE, |body| {
            body.attr_text(1, "t").attr_text(2, "m");
            be32(body, 3, MAP);
            be32(body, 5, 4);
            be32(body, 6, 0xffff_ff00);
            be32(body, 7, 16);
            be32(body, 10, 1);
            body.attr(13, &vec![1; userdata]);
        })
    }

    /// An element of that map.
    fn element(self, chain: u32, userdata: usize) -> Self {
        self.ask(kind::NEWSETELEM, NLM_F_CREATE, |body| {
            body.attr_text(1, "t").attr_text(2, "m").nest(3, |body| {
                body.nest(LIST_ELEM, |body| {
                    key(body);
                    body.nest(2, |body| {
                        body.nest(2, |body| {
                            be32(body, 1, u32::MAX - 2);
                            be32(body, 3, chain);
                        });
                    });
                    body.attr(6, &vec![1; userdata]);
                });
            });
        })
    }
}

fn key(body: &mut Body<'_>) {
    body.nest(1, |body| {
        body.attr(1, &[10, 0, 0, 1]);
    });
}

/// An expression by its name.
fn expression(body: &mut Body<'_>, name: &str, fill: impl FnOnce(&mut Body<'_>)) {
    body.nest(LIST_ELEM, |body| {
        body.attr_text(1, name).nest(2, fill);
    });
}

/// A batch that uses much of what there is.
fn valid() -> Vec<u8> {
    let batch = Batch::default().table(kind::NEWTABLE).chain("a", Some(1)).chain("b", Some(2)).map(8);
    batch
        .element(1, 200)
        .rule(2, |body| {
            expression(body, "payload", |body| {
                for (attribute, value) in [(1, 1), (2, 1), (3, 12), (4, 4)] {
                    be32(body, attribute, value);
                }
            });
            expression(body, "cmp", |body| {
                be32(body, 1, 1);
                be32(body, 2, 0);
                body.nest(3, |body| {
                    body.attr(1, &[10, 0, 0, 1]);
                });
            });
            expression(body, "counter", |body| be64(body, 1, 7));
            expression(body, "limit", |body| {
                be64(body, 1, 10);
                be64(body, 2, 1);
            });
            expression(body, "immediate", |body| {
                be32(body, 1, 0);
                body.nest(2, |body| {
                    body.nest(2, |body| {
                        be32(body, 1, u32::MAX - 3);
                        be32(body, 3, 1);
                    });
                });
            });
        })
        .0
}

/// A register's or a plain number's attributes, in a row.
fn numbers(body: &mut Body<'_>, attributes: &[(u16, u32)]) {
    for (attribute, value) in attributes {
        be32(body, *attribute, *value);
    }
}

/// A constant.
fn constant(body: &mut Body<'_>, attribute: u16, value: &[u8]) {
    body.nest(attribute, |body| {
        body.attr(1, value);
    });
}

/// Every expression, with the attributes in the order in which they are told.
fn every_expression(body: &mut Body<'_>) {
    expression(body, "immediate", |body| {
        be32(body, 1, 1);
        constant(body, 2, &[10, 0, 0, 1]);
    });
    expression(body, "range", |body| {
        numbers(body, &[(1, 1), (2, 1)]);
        constant(body, 3, &[0, 1]);
        constant(body, 4, &[0, 9]);
    });
    expression(body, "bitwise", |body| {
        numbers(body, &[(1, 1), (2, 2), (3, 4), (6, 0)]);
        constant(body, 4, &[255, 255, 0, 0]);
        constant(body, 5, &[0, 0, 0, 1]);
    });
    for operator in [1, 2] {
        expression(body, "bitwise", |body| {
            numbers(body, &[(1, 1), (2, 2), (3, 4), (6, operator)]);
            constant(body, 7, &5u32.to_ne_bytes());
        });
    }
    expression(body, "byteorder", |body| numbers(body, &[(1, 1), (2, 2), (3, 1), (4, 4), (5, 2)]));
    expression(body, "lookup", |body| {
        body.attr_text(1, "m");
        numbers(body, &[(2, 1), (3, 0), (5, 0)]);
    });
    expression(body, "meta", |body| numbers(body, &[(2, 16), (1, 1)]));
    expression(body, "meta", |body| numbers(body, &[(2, 3), (3, 1)]));
    expression(body, "ct", |body| {
        numbers(body, &[(1, 1), (2, 12)]);
        body.attr(3, &[1]);
    });
    expression(body, "ct", |body| numbers(body, &[(2, 3), (4, 1)]));
    expression(body, "fib", |body| numbers(body, &[(1, 1), (2, 3), (3, 9)]));
    expression(body, "counter", |body| {
        be64(body, 1, 700);
        be64(body, 2, 7);
    });
    expression(body, "limit", |body| {
        be64(body, 1, 10);
        be64(body, 2, 60);
        numbers(body, &[(3, 5), (4, 1), (5, 1)]);
    });
    expression(body, "log", |body| {
        body.attr_text(2, "seen");
        numbers(body, &[(5, 6), (6, 1)]);
    });
    expression(body, "log", |body| {
        body.attr(1, &[0, 3]);
        be32(body, 3, 64);
        body.attr(4, &[0, 1]);
    });
    for kind in [0, 2] {
        expression(body, "reject", |body| {
            be32(body, 1, kind);
            body.attr(2, &[3]);
        });
    }
    expression(body, "reject", |body| be32(body, 1, 1));
    expression(body, "notrack", |_| {});
    expression(body, "match", |body| {
        body.attr_text(1, "ttl");
        be32(body, 2, 0);
        body.attr(3, &[2, 64]);
    });
}

/// The expressions of chains that translate.
fn every_translation(body: &mut Body<'_>) {
    expression(body, "nat", |body| {
        numbers(body, &[(1, 1), (2, 2), (3, 1), (4, 2), (5, 3), (6, 4), (7, 4)]);
    });
    expression(body, "masq", |body| numbers(body, &[(1, 4), (2, 1), (3, 2)]));
    expression(body, "redir", |body| numbers(body, &[(1, 1), (2, 2), (3, 4)]));
}

/// What the front end makes of a batch: each message's outcome, and the rule set.
fn run(bytes: &[u8]) -> (Vec<Result<()>>, Result<Ruleset>) {
    let mut transaction = Transaction::on(Ruleset::default());
    let outcomes = Requests(bytes).map(|request| transaction.apply(request)).collect();
    (outcomes, transaction.finish())
}

/// Asks all questions about a rule set, with what a message says as their attributes.
fn ask_all(rules: &Ruleset, request: Request<'_>) {
    for kind in 0..=kind::GETRULE_RESET {
        for flags in [0, NLM_F_DUMP] {
            let asked = Request { kind: message_type(kind), flags, ..request };
            let mut replies = Replies::to(0, 0).within(1 << 16);
            let answered = Message::parse(asked).and_then(|message| tell(rules, &message, &mut replies));
            let told = replies.finish().unwrap_or_default().concat();
            let count = Requests(&told).count();
            assert!(answered.is_err() || told.is_empty() || count > 0);
            assert!(Requests(&told).all(|reply| reply.kind < NLMSG_MIN_TYPE || reply.body().len() >= HEADER));
        }
    }
}

#[test]
fn a_valid_batch_is_taken_and_told() {
    let (outcomes, rules) = run(&valid());
    assert_eq!(outcomes, [Ok(()); 6]);
    let rules = rules.unwrap();
    let (table, batch) = (rules.table(IPV4, "t").unwrap(), valid());
    assert_eq!(table.chain("b").unwrap().rules[0].exprs.len(), 5);
    assert_eq!(table.set("m").unwrap().len(), 1);
    Requests(&batch).for_each(|request| ask_all(&rules, request));
}

#[test]
fn every_expression_is_told_as_it_came() {
    let list = |fill: &dyn Fn(&mut Body<'_>)| {
        let mut message = Replies::to(0, 0);
        message.message(0, 0, |body| fill(body));
        message.finish().unwrap().concat()
    };
    for fill in [every_expression, every_translation] {
        let batch = Batch::default().table(kind::NEWTABLE).chain("a", Some(1)).map(8).rule(1, fill).0;
        let (outcomes, rules) = run(&batch);
        assert_eq!(outcomes, [Ok(()); 4]);
        let rules = rules.unwrap();
        let table = rules.table(IPV4, "t").unwrap();
        let told = list(&|body| {
            for step in &table.chain("a").unwrap().rules[0].exprs {
                body.nest(LIST_ELEM, |body| super::expr::encode(table, step, false, body));
            }
        });
        assert_eq!(told, list(&|body| fill(body)));
    }
}

#[test]
fn userdata_has_a_limit() {
    let whole = || Batch::default().table(kind::NEWTABLE).chain("a", Some(1));
    let with = |attribute: u16, kind: u16, len: usize| {
        whole().ask(kind, NLM_F_CREATE, |body| {
            body.attr_text(1, if kind == kind::NEWTABLE { "u" } else { "t" });
            match kind {
                kind::NEWCHAIN => body.attr_text(3, "other"),
                kind::NEWRULE => body.attr_text(2, "a"),
                _ => body,
            };
            body.attr(attribute, &vec![1; len]);
        })
    };
    for len in [256, 257] {
        let expected = if len == 256 { Ok(()) } else { Err(Errno::ERANGE) };
        let batches = [
            with(6, kind::NEWTABLE, len),
            with(12, kind::NEWCHAIN, len),
            with(7, kind::NEWRULE, len),
            whole().map(len),
            whole().map(0).element(1, len),
        ];
        for batch in batches {
            assert_eq!(run(&batch.0).0.last(), Some(&expected));
        }
    }
}

#[test]
fn naming_one_element_often_fills_no_more_than_the_receive_buffer() {
    let (_, rules) =
        run(&Batch::default().table(kind::NEWTABLE).chain("a", Some(1)).map(0).element(1, 256).0);
    let request = Batch::default().ask(kind::GETSETELEM, 0, |body| {
        body.attr_text(1, "t").attr_text(2, "m").nest(3, |body| {
            for _ in 0..3000 {
                body.nest(LIST_ELEM, key);
            }
        });
    });
    let message = Message::parse(Requests(&request.0).next().unwrap()).unwrap();
    let mut replies = Replies::to(0, 0).within(200_000);
    assert_eq!(tell(&rules.unwrap(), &message, &mut replies), Ok(()));
    assert_eq!(replies.check(), Err(Errno::ENOBUFS));
}

#[test]
fn numbers_of_chains_end_with_their_table() {
    let again = |batch: Batch| batch.table(kind::DELTABLE).table(kind::NEWTABLE).chain("x", None);
    let batch = again(Batch::default().table(kind::NEWTABLE).chain("a", Some(1))).rule(1, |_| {});
    assert_eq!(run(&batch.0).0.last(), Some(&Err(Errno::ENOENT)));
    let gone = Batch::default().table(kind::NEWTABLE).chain("a", Some(1)).ask(kind::DELCHAIN, 0, |body| {
        body.attr_text(1, "t").attr_text(3, "a");
    });
    let batch = gone.chain("x", None).rule(1, |_| {});
    assert_eq!(run(&batch.0).0.last(), Some(&Err(Errno::ENOENT)));
}

#[test]
fn half_a_handle_is_none() {
    let batch = Batch(valid()).ask(kind::NEWRULE, NLM_F_CREATE, |body| {
        body.attr_text(1, "t").attr_text(2, "a").attr(3, &[0; 4]);
    });
    assert_eq!(run(&batch.0).0.last(), Some(&Ok(())));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that is written over a valid batch makes the front end panic.
    #[test]
    fn mutated_batches_do_no_harm(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = valid();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let (_, Ok(rules)) = run(&bytes) {
            Requests(&bytes).for_each(|request| ask_all(&rules, request));
        }
    }

    /// Nor do bytes without sense, which are refused.
    #[test]
    fn senseless_messages_are_refused(kind in 0..=kind::GETRULE_RESET, bytes in vec(any::<u8>(), 0..400)) {
        let before = valid();
        let batch = Batch(before.clone()).ask(kind, NLM_F_CREATE, |body| {
            body.put(&bytes);
        });
        let (outcomes, rules) = run(&batch.0);
        prop_assert_eq!(&outcomes[..6], [Ok(()); 6]);
        // Tables need a name at most to be made, and nothing to be deleted; all else must name what there is.
        prop_assert!(matches!(kind, kind::NEWTABLE | kind::DELTABLE) || outcomes.last().is_some_and(Result::is_err));
        if let Ok(rules) = rules {
            Requests(&batch.0).for_each(|request| ask_all(&rules, request));
        }
    }
}
