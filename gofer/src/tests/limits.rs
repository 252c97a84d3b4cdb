//! What a client can make the server hold.

use abi::Errno;
use gofer_protocol::{Close, Forget, GetAttr, ReadDir, Target, Walk};

use super::{Fixture, Temp, name};

#[test]
fn descriptors_are_a_cache() {
    let temp = Temp::new();
    for i in 0..50 {
        std::fs::create_dir_all(temp.path(&format!("{i}/in/side"))).unwrap();
    }
    let f = Fixture::with(&[(&temp.0, false, false)], |config| config.limits.descriptors = 8);
    let names: Vec<_> = (0..50).map(|i| i.to_string()).collect();
    let nodes: Vec<_> = names.iter().map(|n| f.node(&[n, "in", "side"])).collect();
    for _ in 0..2 {
        for node in &nodes {
            let target = Target::node(node.node);
            assert_eq!(f.client.call(&GetAttr { target }).unwrap().get().unwrap().attr.ino, node.attr.ino);
        }
    }
    // A directory that took the name of one that was closed is not that one.
    std::fs::rename(temp.path("0/in"), temp.path("0/out")).unwrap();
    std::fs::create_dir_all(temp.path("0/in/side")).unwrap();
    let (_, stale) = (f.node(&["1", "in", "side"]), Target::node(nodes[0].node));
    for node in &nodes[2..20] {
        f.client.call(&GetAttr { target: Target::node(node.node) }).unwrap();
    }
    assert_eq!(f.client.call(&GetAttr { target: stale }).unwrap_err(), Errno::ESTALE);
    let (result, server) = f.finish();
    result.unwrap();
    let (count, open) = server.nodes.counts();
    assert!(count == 151 && open <= 9, "{count} nodes, {open} open");
}

#[test]
fn nodes_are_bounded_and_come_back() {
    let temp = Temp::new();
    for i in 0..20 {
        temp.write(&i.to_string(), "");
    }
    let f = Fixture::with(&[(&temp.0, false, false)], |config| config.limits.nodes = 10);
    let names: Vec<_> = (0..20).map(|i| i.to_string()).collect();
    let walk = |i: usize| {
        let request = Walk { from: f.root(), names: vec![name(&names[i])], open: None };
        f.client.call(&request).map(|r| r.get().unwrap().found[0].node)
    };
    let nodes: Vec<_> = (0..9).map(|i| walk(i).unwrap()).collect();
    assert_eq!(walk(9).unwrap_err(), Errno::ENFILE);
    assert_eq!(walk(3).unwrap(), nodes[3]);
    f.client.forget(&Close { nodes: vec![Forget { node: nodes[0], count: 1 }] });
    walk(9).unwrap();
}

#[test]
fn half_read_listings_are_bounded() {
    let temp = Temp::new();
    for i in 0..1000 {
        temp.write(&format!("{i:0200}"), "");
    }
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let target = Target::node(f.root());
    let streams: Vec<u64> = (0..100)
        .map(|_| {
            f.client
                .call(&ReadDir { target, stream: 0, with_attributes: true })
                .unwrap()
                .get()
                .unwrap()
                .stream
        })
        .collect();
    let go_on = |stream| f.client.call(&ReadDir { target, stream, with_attributes: true }).map(|_| ());
    assert_eq!(go_on(streams[0]), Err(Errno::ESTALE));
    assert_eq!(go_on(streams[99]), Ok(()));
}
