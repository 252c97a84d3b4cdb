//! Columns of text.

/// A table with a header.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these column names.
    pub(super) fn new(header: &[&str; N]) -> Self {
        Self { rows: vec![header.map(Into::into)] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Prints it, columns three spaces apart.
    pub(super) fn print(&self) {
        say_raw!("{self}");
    }
}

impl<const N: usize> std::fmt::Display for Table<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
                if index + 1 == N {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:width$}   ")?;
                }
            }
        }
        Ok(())
    }
}
