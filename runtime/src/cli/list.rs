//! `runsc list`.

use clap::Args;
use serde_json::json;

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
        let mut states = Vec::new();
        for id in store.ids()? {
            match store.peek(&id) {
                Ok(mut state) => {
                    state.status = current_status(&state, &store);
                    states.push(state);
                }
                Err(error) => logging::warning(error.to_string()),
            }
        }
        if self.sandbox {
            states.retain(State::is_root);
        }
        if self.quiet {
            states.iter().for_each(|state| say!("{}", state.id));
        } else if self.format == "json" {
            say!("{}", serde_json::Value::from_iter(states.iter().map(row)));
        } else {
            print_table(&states);
        }
        Ok(0)
    }
}

fn pid(state: &State) -> i32 {
    if state.status == Status::Stopped { 0 } else { state.sandbox.map_or(0, |sandbox| sandbox.pid) }
}

fn row(state: &State) -> serde_json::Value {
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

fn print_table(states: &[State]) {
    let mut table = Table::new(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for state in states {
        table.row([
            state.id.clone(),
            pid(state).to_string(),
            state.status.name().into(),
            state.bundle.display().to_string(),
            state.created.clone(),
            state.owner.to_string(),
        ]);
    }
    table.print();
}
