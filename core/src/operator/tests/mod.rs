//! The window operators against oracles that loop over everything.

mod harness;
mod oracle;
mod states;

mod panes;

mod by_hand;
mod counts;
mod keyed;
mod over;
mod over_floats;
mod over_quantiles;
mod parts;
mod rows;
mod sessions;
