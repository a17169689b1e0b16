//! A lab guest's image is a legal stream: written as a restore file, it reads back as a recording, and the guest
//! continues from that.

mod common;

use common::{Collector, answer, config, differing, image_of, request_frame};
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{DomainState, Sink, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::stream::write_restore_file;
use understudy_lab::memcached::Request;
use understudy_lab::{Guest, LabGuest, Load, Recorded};

#[test]
fn a_guest_continues_from_its_restore_file() {
    let mut guest = Guest::boot(&config(Load::MIXED, 5)).unwrap();
    let port = Collector::default();
    guest.advance(5_000_000);
    (0..100).for_each(|_| guest.write_load_page());
    let set = Request::Set { key: b"k", flags: 0, value: b"1", noreply: true };
    guest.deliver(&request_frame(1, &set), &port);
    let image = image_of(&guest);
    let what = LabGuest::restore(image_of(&guest), std::sync::Arc::new(Collector::default()))
        .unwrap()
        .source()
        .describe()
        .unwrap();
    let mut file = Vec::new();
    write_restore_file(&mut file, &what, &image).unwrap();

    let mut recorded = Recorded::new(&file[..]);
    assert_eq!(recorded.describe().unwrap(), what);
    assert_eq!(recorded.name(), Some("test"));
    let (mut copy, mut staging) = (Image::new(what.page_count), Staging::new(what.page_count as usize));
    recorded.suspend().unwrap();
    recorded.copy_pages(&common::all_pages(what.page_count), Pfn(0), &mut staging, 1).unwrap();
    for (entry, page) in staging.entries().iter().zip(staging.pages()) {
        copy.apply_page(*entry, Some(page));
    }
    let mut state = DomainState::default();
    recorded.capture_state(&mut state).unwrap();
    copy.apply_state(&state);

    assert_eq!(differing(&copy, &image), vec![]);
    let mut copy = Guest::from_image(copy).unwrap();
    copy.deliver(&request_frame(2, &Request::Incr { key: b"k", by: 1, noreply: false }), &port);
    assert_eq!(answer(&port.take()[0]).unwrap().1, b"2\r\n");
}
