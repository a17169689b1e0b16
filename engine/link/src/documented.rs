//! Compares `docs/LINK.md` with the tables: kinds with their versions and addresses, and every value of a field.

use super::kind::{Conversation, Kind};
use super::refusal::HoldReason;
use super::service::{RefuseReason, Service};
use super::values::{CopyTag, DeclineTag, StandingTag, Value};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use understudy_checkpoint::domain::GuestKind;
use understudy_session::lease::Standing as LeaseStanding;
use understudy_session::{CopyEnd, EpochKind, Mode, WitnessOutcome};

const DOCUMENT: &str = include_str!("../../../docs/LINK.md");

/// The drawing of all bodies in the document.
fn bodies() -> &'static str {
    let section = DOCUMENT.split("\n## Bodies\n").nth(1).expect("a section on bodies");
    section.split("```").nth(1).expect("a drawing of them")
}

/// Its lines by kind: the number, and the rest of its line with those that follow.
fn entries() -> Vec<(u16, String)> {
    let mut entries: Vec<(u16, String)> = Vec::new();
    for line in bodies().lines() {
        if let Some(rest) = line.strip_prefix(" 0x") {
            let (number, rest) = rest.split_at(2);
            entries.push((u16::from_str_radix(number, 16).expect("a number"), rest.to_owned()));
        } else if let Some((_, entry)) = entries.last_mut() {
            *entry += &format!("\n{line}");
        }
    }
    entries
}

#[test]
fn the_document_draws_each_kind_once_with_its_name_its_address_and_its_version() {
    let drawn: Vec<_> = entries()
        .into_iter()
        .map(|(number, entry)| {
            let is_of_guest = entry.trim_start().starts_with('·');
            let mut words = entry.trim_start_matches([' ', '·']).split_whitespace();
            let name = words.next().expect("a name").to_owned();
            let since = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
            (number, name, is_of_guest, since)
        })
        .collect();
    let mut kinds: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| {
            let is_of_guest = kind.conversation() == Conversation::Guest;
            (kind.number(), kind.name().to_owned(), is_of_guest, kind.since())
        })
        .collect();
    // WitnessReclaim is drawn beside the swap that it is like.
    kinds.sort_by_key(|(number, ..)| {
        (
            *number >= 0x30,
            [0x30, 0x31, 0x33, 0x32, 0x34, 0x35, 0x36].iter().position(|it| it == number),
            *number,
        )
    });
    assert_eq!(drawn, kinds);
}

/// What the document lists after `label` for a kind: numbers and words, without parentheses.
fn listed(number: u16, label: &str) -> Vec<(u8, String)> {
    let entry = entries().into_iter().find(|(drawn, _)| *drawn == number).expect("a drawn kind").1;
    let label = format!(" {label}: ");
    let list = entry.split_once(&*label).unwrap_or_else(|| panic!("no {label:?} in {entry}")).1;
    let mut text = String::new();
    for line in list.lines() {
        let mut line = line.trim().to_owned();
        while let Some((before, after)) = line.split_once('(') {
            line = format!("{}{}", before.trim_end(), after.split_once(')').map_or("", |(_, after)| after));
        }
        text += line.split(';').next().unwrap_or("");
        if !line.ends_with(',') {
            break;
        }
        text += " ";
    }
    let value = |item: &str| {
        let (number, words) = item.trim().split_once(' ').expect("a number and words");
        (number.parse().expect("a number"), words.to_owned())
    };
    text.split(',').map(value).collect()
}

fn table<V: Value>() -> Vec<(u8, String)> {
    V::TABLE.iter().map(|row| (row.number, row.words.to_owned())).collect()
}

#[test]
fn the_document_lists_each_value_of_each_field() {
    let lists = [
        (Kind::Hello, "service", table::<Service>()),
        (Kind::Refuse, "reason", table::<RefuseReason>()),
        (Kind::GuestOffer, "kind", table::<GuestKind>()),
        (Kind::EpochBegin, "kind", table::<EpochKind>()),
        (Kind::Stand, "standing", table::<StandingTag>()),
        (Kind::Declined, "why", table::<DeclineTag>()),
        (Kind::HoldDeclined, "reason", table::<HoldReason>()),
        (Kind::CopyWanted, "mode", table::<Mode>()),
        (Kind::Halted, "why", table::<CopyEnd>()),
        (Kind::WitnessReply, "outcome", table::<WitnessOutcome>()),
        // The record is drawn behind the last kind that carries it.
        (Kind::LeaseReply, "copy", table::<CopyTag>()),
        (Kind::LeaseReply, "standing", table::<LeaseStanding>()),
    ];
    for (kind, label, values) in lists {
        assert_eq!(listed(kind.number(), label), values, "{label} of {kind:?}");
    }
}

#[test]
fn no_two_values_of_a_field_have_one_number_and_each_is_its_own_row() {
    fn check<V: Value + core::fmt::Debug>() {
        for row in V::TABLE {
            assert_eq!(row.value.row(), row);
            let same = V::TABLE.iter().filter(|other| other.number == row.number);
            assert_eq!(same.count(), 1, "{} {}", V::FIELD, row.number);
        }
    }
    check::<Service>();
    check::<RefuseReason>();
    check::<GuestKind>();
    check::<EpochKind>();
    check::<StandingTag>();
    check::<DeclineTag>();
    check::<HoldReason>();
    check::<Mode>();
    check::<CopyEnd>();
    check::<WitnessOutcome>();
    check::<CopyTag>();
    check::<LeaseStanding>();
    assert_eq!(table::<HoldReason>().len(), HoldReason::ALL.len());
}
