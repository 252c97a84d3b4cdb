//! The first line of scripts (`man 2 execve`, "Interpreter scripts"). Pure.

use abi::{Errno, Result};

/// How much of a file is looked at (`BINPRM_BUF_SIZE`).
pub(crate) const HEAD_LEN: usize = 256;

/// What a `#!` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScriptLine {
    /// The interpreter's path.
    pub(crate) interpreter: Vec<u8>,
    /// Everything behind it as one argument.
    pub(crate) argument: Option<Vec<u8>>,
}

impl ScriptLine {
    /// Reads the beginning of a file (at most [`HEAD_LEN`] bytes); `None` where it is no script.
    ///
    /// # Errors
    /// `ENOEXEC` where no interpreter is named, or its name does not fit.
    pub(crate) fn parse(head: &[u8]) -> Result<Option<Self>> {
        let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let end = rest.iter().position(|&byte| byte == b'\n' || byte == 0);
        let is_cut = end.is_none() && head.len() >= HEAD_LEN;
        let line = &rest[..end.unwrap_or(rest.len())];
        let Some(start) = line.iter().position(|byte| !is_blank(byte)) else { return Err(Errno::ENOEXEC) };
        let line = &line[start..];
        let Some(name_end) = line.iter().position(is_blank) else {
            // The name may go on beyond what was read: better nothing than another program.
            return if is_cut {
                Err(Errno::ENOEXEC)
            } else {
                Ok(Some(Self { interpreter: line.to_vec(), argument: None }))
            };
        };
        let (name, tail) = line.split_at(name_end);
        // Of a line that is cut the last byte only tells that the name has ended.
        let tail = if is_cut { &tail[..tail.len() - 1] } else { tail };
        let argument = tail.trim_ascii_start().strip_trailing(is_blank);
        Ok(Some(Self {
            interpreter: name.to_vec(),
            argument: (!argument.is_empty()).then(|| argument.to_vec()),
        }))
    }
}

trait StripTrailing {
    fn strip_trailing(&self, drop: impl Fn(&u8) -> bool) -> &[u8];
}

impl StripTrailing for [u8] {
    fn strip_trailing(&self, drop: impl Fn(&u8) -> bool) -> &[u8] {
        let end = self.iter().rposition(|byte| !drop(byte)).map_or(0, |last| last + 1);
        &self[..end]
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;
    use proptest::prelude::*;

    use super::{HEAD_LEN, ScriptLine};

    type Parts = (Vec<u8>, Option<Vec<u8>>);

    fn parse(head: &[u8]) -> abi::Result<Option<Parts>> {
        ScriptLine::parse(head).map(|line| line.map(|line| (line.interpreter, line.argument)))
    }

    fn line(interpreter: &[u8], argument: Option<&[u8]>) -> abi::Result<Option<Parts>> {
        Ok(Some((interpreter.to_vec(), argument.map(<[u8]>::to_vec))))
    }

    #[test]
    fn lines_as_linux_reads_them() {
        assert_eq!(parse(b"echo hi\n"), Ok(None));
        assert_eq!(parse(b"#!/bin/sh\nrest"), line(b"/bin/sh", None));
        assert_eq!(parse(b"#! \t/bin/sh -e -x \t\nrest"), line(b"/bin/sh", Some(b"-e -x")));
        assert_eq!(parse(b"#!/usr/bin/env python3"), line(b"/usr/bin/env", Some(b"python3")));
        assert_eq!(parse(b"#!/bin/sh \nx"), line(b"/bin/sh", None));
        assert_eq!(parse(b"#!"), Err(Errno::ENOEXEC));
        assert_eq!(parse(b"#!  \n/bin/sh"), Err(Errno::ENOEXEC));
        let mut long = b"#!/".to_vec();
        long.resize(HEAD_LEN, b'a');
        assert_eq!(parse(&long), Err(Errno::ENOEXEC));
        long[HEAD_LEN - 1] = b' ';
        assert_eq!(parse(&long), line(&long[2..HEAD_LEN - 1], None), "the name has just ended");
        long[HEAD_LEN - 1] = b'\n';
        assert_eq!(parse(&long), line(&long[2..HEAD_LEN - 1], None));
        long[HEAD_LEN - 1] = b'a';
        long[10] = b' ';
        assert!(parse(&long).unwrap().unwrap().1.is_some(), "arguments may be cut");
    }

    proptest! {
        #[test]
        fn any_head_is_read_without_harm(head in prop::collection::vec(prop_oneof![Just(b' '), Just(b'\n'), any::<u8>()], 0..HEAD_LEN)) {
            let mut script = b"#!".to_vec();
            script.extend(head);
            if let Ok(Some((name, _))) = parse(&script) {
                prop_assert!(!name.is_empty() && !name.contains(&b' ') && !name.contains(&b'\n'));
            }
        }
    }
}
