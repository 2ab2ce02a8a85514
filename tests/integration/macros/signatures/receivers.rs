//! Every kind of `self`.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use mlflow::tracked;

use super::expect_runs;

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    n: u8,
    name: String,
}

trait Named {
    type Name;
    fn name(&self) -> Self::Name;
    #[tracked]
    fn twice(&self) -> (Self::Name, Self::Name) {
        (self.name(), self.name())
    }
}

impl Named for Model {
    type Name = String;
    #[tracked]
    fn name(&self) -> Self::Name {
        self.name.clone()
    }
}

impl Model {
    #[tracked]
    fn new(n: u8) -> Self {
        Self {
            n,
            ..Self::default()
        }
    }
    #[tracked]
    fn by_ref(&self, a: u8) -> u8 {
        self.n + a
    }
    #[tracked]
    fn by_mut(&mut self) -> &mut u8 {
        &mut self.n
    }
    #[tracked]
    fn by_mut_unit(&mut self, a: u8) {
        self.n = a;
    }
    #[tracked]
    fn by_value(self) -> String {
        self.name
    }
    #[tracked]
    fn by_mut_value(mut self) -> Self {
        self.n += 1;
        self
    }
    #[tracked]
    fn by_arc(self: Arc<Self>) -> Arc<Self> {
        self
    }
    #[tracked]
    fn by_box(self: Box<Self>) -> u8 {
        self.n
    }
    #[tracked]
    fn by_pin(self: Pin<&mut Self>) -> Pin<&mut u8> {
        Pin::new(&mut self.get_mut().n)
    }
    #[tracked]
    fn by_rc_ref(self: &Rc<Self>) -> Rc<Self> {
        Rc::clone(self)
    }
    #[tracked]
    fn by_named<'a>(&'a self, other: &'a Self) -> &'a Self {
        if self.n > other.n { self } else { other }
    }
    #[tracked]
    fn by_lifetime<'a>(&'a self, _b: &str) -> &'a str {
        &self.name
    }
    #[tracked]
    fn mixed(&mut self, Self { n, .. }: &Self, others: &[Self]) -> Option<Self> {
        self.n += n;
        others.first().cloned()
    }
    #[tracked]
    fn chained(&mut self) -> &mut Self {
        self.n += 1;
        self
    }
}

#[test]
fn constructor() {
    let _expect = expect_runs(1);
    assert_eq!(Model::new(1).n, 1);
}

#[test]
fn reference() {
    let _expect = expect_runs(1);
    assert_eq!(Model::default().by_ref(1), 1);
}

#[test]
fn mutable_reference() {
    let _expect = expect_runs(2);
    let mut model = Model::default();
    *model.by_mut() = 2;
    assert_eq!(model.n, 2);
    model.by_mut_unit(3);
    assert_eq!(model.n, 3);
}

#[test]
fn reborrowed_twice() {
    let _expect = expect_runs(2);
    let mut model = Model::default();
    assert_eq!(model.chained().chained().n, 2);
}

#[test]
fn value() {
    let _expect = expect_runs(1);
    assert_eq!(Model::default().by_value(), "");
}

#[test]
fn mutable_value() {
    let _expect = expect_runs(1);
    assert_eq!(Model::default().by_mut_value().n, 1);
}

#[test]
fn arc() {
    let _expect = expect_runs(1);
    assert_eq!(Arc::new(Model::default()).by_arc().n, 0);
}

#[test]
fn boxed() {
    let _expect = expect_runs(1);
    assert_eq!(Box::new(Model::default()).by_box(), 0);
}

#[test]
fn pinned() {
    let _expect = expect_runs(1);
    let mut model = Model::default();
    *Pin::new(&mut model).by_pin() = 4;
    assert_eq!(model.n, 4);
}

#[test]
fn rc_reference() {
    let _expect = expect_runs(1);
    assert_eq!(Rc::new(Model::default()).by_rc_ref().n, 0);
}

#[test]
fn named_reference() {
    let _expect = expect_runs(1);
    assert_eq!(
        Model::default()
            .by_named(&Model {
                n: 1,
                ..Model::default()
            })
            .n,
        1
    );
}

#[test]
fn lifetime_of_self() {
    let _expect = expect_runs(1);
    assert_eq!(Model::default().by_lifetime("b"), "");
}

#[test]
fn self_in_arguments() {
    let _expect = expect_runs(1);
    let other = Model {
        n: 1,
        ..Model::default()
    };
    assert_eq!(
        Model::default().mixed(&other, std::slice::from_ref(&other)),
        Some(other.clone())
    );
}

#[test]
fn trait_methods() {
    let _expect = expect_runs(3);
    assert_eq!(Model::default().twice(), (String::new(), String::new()));
}

#[test]
fn trait_object() {
    trait Score {
        fn score(&self) -> f64;
    }
    impl Score for Model {
        #[tracked]
        fn score(&self) -> f64 {
            f64::from(self.n)
        }
    }
    let _expect = expect_runs(1);
    let score: Box<dyn Score> = Box::new(Model::default());
    assert_eq!(score.score(), 0.0);
}

#[test]
fn drop_and_std_traits() {
    struct Counter(u8);
    impl Iterator for Counter {
        type Item = u8;
        #[tracked]
        fn next(&mut self) -> Option<Self::Item> {
            self.0 = self.0.checked_sub(1)?;
            Some(self.0)
        }
    }
    impl Drop for Counter {
        #[tracked]
        fn drop(&mut self) {
            self.0 = 0;
        }
    }
    impl std::fmt::Display for Counter {
        #[tracked]
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }
    let _expect = expect_runs(5);
    let mut counter = Counter(2);
    assert_eq!(counter.to_string(), "2");
    assert_eq!(counter.by_ref().count(), 2);
}
