//! The window operators against oracles that loop over everything.

mod harness;
mod oracle;
mod states;

mod by_hand;
mod panes;
