//! Numbers by which a name space knows others (`RTM_*NSID`, `man 8 ip-netns`).

use std::sync::{Arc, Weak};

use abi::netlink::{NLM_F_MULTI, RTM_NEWNSID};
use abi::{Errno, Result};
use netstack::StackId;
use parking_lot::Mutex;

use super::super::Context;
use super::super::message::{Replies, Request};
use super::link;

const NETNSA_NSID: u16 = 1;
const NETNSA_PID: u16 = 2;
const NETNSA_FD: u16 = 3;
const HEADER: usize = 4;
/// No number.
const NONE: u32 = u32::MAX;
/// Name spaces that one may have numbers for.
const MAX: usize = 4096;

/// A stack and the number by which it is known.
type Entry = (u32, Weak<StackId>);

fn is_of((_, known): &Entry, stack: &Arc<StackId>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(stack))
}

/// The numbers of one name space, of those others that are still there. A leaf lock.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<Vec<Entry>>);

impl Numbers {
    fn known(&self, stack: &Arc<StackId>) -> Option<u32> {
        self.0.lock().iter().find(|entry| is_of(entry, stack)).map(|(number, _)| *number)
    }

    /// All numbers.
    fn all(&self) -> Vec<u32> {
        let mut known = self.0.lock();
        forget_gone(&mut known);
        known.iter().map(|(number, _)| *number).collect()
    }

    /// The number of a stack, by which it is known from now on.
    pub(crate) fn of(&self, stack: &Arc<StackId>) -> u32 {
        let mut known = self.0.lock();
        if let Some((number, _)) = known.iter().find(|entry| is_of(entry, stack)) {
            return *number;
        }
        forget_gone(&mut known);
        if known.len() >= MAX {
            return NONE;
        }
        let free = (0..).find(|number| known.iter().all(|(taken, _)| taken != number)).unwrap_or(NONE);
        known.push((free, Arc::downgrade(stack)));
        free
    }

    /// Sets the number of a stack.
    ///
    /// # Errors
    /// `EEXIST` where it has one, `ENOSPC` where the number is taken or there are too many.
    fn set(&self, stack: &Arc<StackId>, wanted: u32) -> Result<()> {
        let mut known = self.0.lock();
        forget_gone(&mut known);
        if known.iter().any(|entry| is_of(entry, stack)) {
            return Err(Errno::EEXIST);
        }
        if known.len() >= MAX || known.iter().any(|(number, _)| *number == wanted) {
            return Err(Errno::ENOSPC);
        }
        known.push((wanted, Arc::downgrade(stack)));
        Ok(())
    }
}

/// Numbers of name spaces that are gone are free again.
fn forget_gone(known: &mut Vec<Entry>) {
    known.retain(|(_, stack)| stack.strong_count() > 0);
}

/// The stack of the name space that a message names.
fn named(context: &Context<'_>, request: &Request<'_>) -> Result<Arc<StackId>> {
    let (_, attributes) = request.split(HEADER)?;
    let task = context.task;
    let namespace = match (attributes.word(NETNSA_PID), attributes.word(NETNSA_FD)) {
        (Some(pid), _) => link::by_pid(task, pid)?,
        (None, Some(fd)) => link::by_fd(task, fd)?,
        (None, None) => return Err(Errno::EINVAL),
    };
    Ok(Arc::clone(link::content(task, &namespace)?.stack().id()))
}

/// `RTM_GETNSID`: one number, or all.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if request.is_dump() {
        for number in context.net.numbers().all() {
            replies.message(RTM_NEWNSID, NLM_F_MULTI, |body| {
                body.put(&[0; HEADER]).attr_word(NETNSA_NSID, number);
            });
        }
        replies.done();
        return Ok(());
    }
    let number = context.net.numbers().known(&named(context, request)?).unwrap_or(NONE);
    replies.message(RTM_NEWNSID, 0, |body| {
        body.put(&[0; HEADER]).attr_word(NETNSA_NSID, number);
    });
    Ok(())
}

/// `RTM_NEWNSID`.
pub(super) fn set(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (_, attributes) = request.split(HEADER)?;
    let wanted = attributes.word(NETNSA_NSID).ok_or(Errno::EINVAL)?;
    let stack = named(context, request)?;
    let numbers = context.net.numbers();
    if i32::try_from(wanted).is_ok() {
        return numbers.set(&stack, wanted);
    }
    // Any will do.
    match numbers.known(&stack) {
        Some(_) => Err(Errno::EEXIST),
        None if numbers.of(&stack) == NONE => Err(Errno::ENOSPC),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_their_own() {
        let numbers = Numbers::default();
        let [a, b, c, d, e] = [(); 5].map(|()| Arc::<StackId>::default());
        assert_eq!((numbers.of(&a), numbers.of(&b), numbers.of(&a)), (0, 1, 0));
        assert_eq!(numbers.set(&a, 5), Err(Errno::EEXIST));
        assert_eq!(numbers.set(&c, 1), Err(Errno::ENOSPC));
        assert_eq!(numbers.set(&c, 2), Ok(()));
        assert_eq!((numbers.of(&d), numbers.known(&e)), (3, None));
        drop(b);
        assert_eq!(numbers.all(), [0, 2, 3], "it is gone");
        assert_eq!((numbers.of(&e), numbers.of(&c)), (1, 2));
    }
}
