//! Runs a command in a network namespace of its own: `in-namespace <program> [<argument>…]`.

use std::process::{Command, ExitCode};

use tandem_e2e::namespace::{FORBIDDEN, enter};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: in-namespace <program> [<argument>…]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let error = enter(command);
    eprintln!("cannot make a network namespace: {error}");
    ExitCode::from(FORBIDDEN)
}
