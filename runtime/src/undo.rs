//! Steps taken so far, taken back in reverse order unless all went well.

/// What takes the steps back.
#[derive(Default)]
pub(crate) struct Undo<'a>(Vec<Box<dyn FnOnce() + 'a>>);

impl<'a> Undo<'a> {
    /// Notes how to take back the step just taken.
    pub(crate) fn push(&mut self, step: impl FnOnce() + 'a) {
        self.0.push(Box::new(step));
    }

    /// All went well: nothing is taken back.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::Undo;

    #[test]
    fn in_reverse_unless_kept() {
        let done = RefCell::new(Vec::new());
        let mut undo = Undo::default();
        undo.push(|| done.borrow_mut().push(1));
        undo.push(|| done.borrow_mut().push(2));
        drop(undo);
        assert_eq!(*done.borrow(), [2, 1]);
        let mut undo = Undo::default();
        undo.push(|| done.borrow_mut().push(3));
        undo.keep();
        assert_eq!(done.borrow().len(), 2);
    }
}
