//! The programs and their doors, tried with real servers, real clips and other people's tools.
//!
//! `tests/run` installs what these need and lets nothing be skipped. Under a plain `cargo test`, a
//! test whose tool is missing says so on standard error and passes.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod support;

mod audit;
mod bad_input;
mod buckets;
mod canary;
mod cannot_open;
mod clip_vectors;
mod close;
mod commands;
mod contract;
mod control;
mod control_socket;
mod copy;
mod corpus;
mod custody;
mod custody_properties;
mod custody_vectors;
mod dav;
mod delivery;
mod demo;
mod desk;
mod dock_keyring;
mod door_to_door;
mod faults;
mod fleet;
mod guided;
mod hostile;
mod identities;
mod keyring_desk;
mod kill;
mod kinds;
mod limits;
mod lost;
mod manual;
mod memory;
mod memory_image;
mod metrics;
mod origin;
mod parts;
mod peers;
mod plugins;
mod properties;
mod rights;
mod screen;
mod selftest;
mod service;
mod show;
mod trust;
mod unit;
mod vectors;
mod why;
