//! `runsc list`.

use clap::Args;
use serde_json::{Value, json};

use super::table::Table;
use crate::container::{State, Status, Store, current_status};
use crate::error::Result;
use crate::flags::Config;
use crate::logging;

/// `runsc list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print ids only.
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Form of the list.
    #[arg(long, short = 'f', default_value = "table", value_parser = ["table", "text", "json"])]
    format: String,
    /// List sandboxes instead of containers.
    #[arg(long)]
    sandbox: bool,
}

impl List {
    /// Lists them.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        let store = Store::new(&config.root);
        let mut rows = Vec::new();
        for id in store.ids()? {
            match store.peek(&id) {
                Ok(state) if self.sandbox && !state.is_root() => {}
                Ok(mut state) => {
                    state.status = current_status(&state, &store);
                    rows.push(row(&state));
                }
                // One that is being removed is gone; one that is damaged is shown, or nobody would ever remove it.
                Err(_) if !store.exists(&id) => {}
                Err(error) => {
                    logging::warning(error.to_string());
                    rows.push(damaged(&id));
                }
            }
        }
        if self.quiet {
            rows.iter().for_each(|row| say!("{}", shown(&row["id"])));
        } else if self.format == "json" {
            say!("{}", Value::from(rows));
        } else {
            print_table(&rows);
        }
        Ok(0)
    }
}

fn pid(state: &State) -> i32 {
    if state.status == Status::Stopped { 0 } else { state.sandbox.map_or(0, |sandbox| sandbox.pid) }
}

fn row(state: &State) -> Value {
    json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": pid(state),
        "status": state.status.name(),
        "bundle": state.bundle,
        "created": state.created,
        "annotations": state.annotations,
        "owner": state.owner.to_string(),
    })
}

/// A container of which no more is known than that it is there.
fn damaged(id: &str) -> Value {
    json!({
        "ociVersion": "",
        "id": id,
        "pid": 0,
        "status": "unknown",
        "bundle": "",
        "created": "",
        "annotations": {},
        "owner": "",
    })
}

/// A member for people: texts without their quotes.
fn shown(member: &Value) -> String {
    member.as_str().map_or_else(|| member.to_string(), Into::into)
}

fn print_table(rows: &[Value]) {
    let columns = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut table = Table::new(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    rows.iter().for_each(|row| table.row(columns.map(|column| shown(&row[column]))));
    table.print();
}
