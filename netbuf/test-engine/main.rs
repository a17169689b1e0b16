//! For tests: attaches to `vif1.0` as its argument says, prints `holding`, and stays until it is killed.

use understudy_checkpoint::Epoch;
use understudy_netbuf::Limits;
use understudy_netbuf::kernel::{CutOff, OwnQueue, Start};

fn main() {
    let (vif, limits) = ("vif1.0", Limits::default());
    let _held: Box<dyn std::any::Any> = match std::env::args().nth(1).as_deref() {
        Some("own") => {
            Box::new(OwnQueue::attach(&[vif], Epoch(0), limits, Start::Holding).expect("attaches"))
        }
        Some("cut off") => Box::new(CutOff::new(vif).expect("cuts off")),
        other => panic!("{other:?} is neither own nor cut off"),
    };
    println!("holding");
    loop {
        std::thread::park();
    }
}
