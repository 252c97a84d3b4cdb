//! `runsc help syscalls`: how complete each system call is, from the table that dispatches them.

use std::fmt::Write as _;
use std::path::Path;

use kernel::syscalls::table::{Row, Support, rows};
use serde_json::json;

use super::table::Table;
use crate::error::{Context, Result};

/// Prints the table, to a file where one is given.
pub(super) fn print(format: &str, file: Option<&Path>) -> Result<()> {
    let text = render(format);
    match file {
        None => say_raw!("{text}"),
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn render(format: &str) -> String {
    let mut rows: Vec<_> = rows().collect();
    rows.sort_by_key(|row| row.number);
    match format {
        "json" => {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    let (support, note) = support(row);
                    json!({"number": row.number, "name": row.name, "support": support, "note": note})
                })
                .collect();
            format!("{:#}\n", json!({"linux": {"amd64": rows}}))
        }
        "csv" => {
            let mut text = String::from("number,name,support,note\n");
            for row in rows {
                let (support, note) = support(row);
                let _ =
                    writeln!(text, "{},{},{support},\"{}\"", row.number, row.name, note.replace('"', "\"\""));
            }
            text
        }
        _ => {
            let mut table = Table::new(&["NUM", "NAME", "SUPPORT", "NOTE"]);
            for row in rows {
                let (support, note) = support(row);
                table.row([row.number.to_string(), row.name.into(), support.into(), note]);
            }
            table.to_string()
        }
    }
}

fn support(row: &Row) -> (&'static str, String) {
    match row.support {
        Support::Full => ("full", String::new()),
        Support::Partial(missing) => ("partial", missing.into()),
        Support::Absent(errno, why) => ("absent", format!("{}: {why}", errno.name())),
    }
}
