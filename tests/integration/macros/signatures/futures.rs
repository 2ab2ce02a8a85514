//! Functions that return a future.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use mlflow::tracked;

use super::{assert_send, block_on, expect_runs};

#[test]
fn async_fn() {
    #[tracked]
    async fn f(a: u8, text: &str) -> usize {
        std::future::ready(()).await;
        usize::from(a) + text.len()
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(assert_send(f(1, "ab"))), 3);
}

#[test]
fn async_unsafe_fn() {
    #[tracked]
    #[allow(unsafe_code)]
    async unsafe fn f(a: *const u8) -> u8 {
        unsafe { *a }
    }
    let _expect = expect_runs(1);
    #[allow(unsafe_code)]
    let future = unsafe { f(&7) };
    assert_eq!(block_on(future), 7);
}

#[test]
fn async_without_a_type() {
    #[tracked]
    async fn f() {}
    let _expect = expect_runs(1);
    block_on(f());
}

#[test]
fn async_that_never_returns() {
    #[tracked]
    async fn f(n: u8) -> ! {
        panic!("{n}")
    }
    let _expect = expect_runs(1);
    let panicked = std::panic::catch_unwind(|| block_on(f(1)));
    assert!(panicked.is_err());
}

#[test]
fn async_with_question_mark() {
    #[tracked]
    async fn f(text: &str) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
        if text == "early" {
            return Err("early".into());
        }
        Ok(text.parse::<i32>()?)
    }
    let _expect = expect_runs(3);
    assert_eq!(block_on(assert_send(f("5"))).ok(), Some(5));
    assert!(block_on(f("x")).is_err());
    assert!(block_on(f("early")).is_err());
}

#[test]
fn async_coerces_the_returned_value() {
    #[tracked]
    async fn f(n: u8) -> Box<dyn Fn() -> u8 + Send> {
        if n == 0 {
            return Box::new(|| 0);
        }
        Box::new(move || n)
    }
    let _expect = expect_runs(2);
    assert_eq!(block_on(f(3))(), 3);
    assert_eq!(block_on(f(0))(), 0);
}

#[test]
fn async_borrows_across_awaits() {
    #[tracked]
    async fn f<'a>(a: &'a mut Vec<u8>, b: &str) -> &'a mut u8 {
        std::future::ready(()).await;
        a.push(u8::try_from(b.len()).unwrap_or(0));
        &mut a[0]
    }
    let _expect = expect_runs(1);
    let mut v = vec![];
    *block_on(f(&mut v, "abc")) += 1;
    assert_eq!(v, [4]);
}

#[test]
fn async_with_elided_output() {
    #[tracked]
    async fn f(a: &str) -> &str {
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f("a")), "a");
}

#[test]
fn async_returning_impl_trait() {
    #[tracked]
    async fn f(n: u8) -> impl Iterator<Item = u8> + Send {
        0..n
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(3)).count(), 3);
}

#[test]
fn async_with_patterns() {
    #[tracked]
    async fn f((a, mut b): (u8, u8), _: String, ref c: String, [d, ..]: [u8; 3]) -> usize {
        b += 1;
        std::future::ready(()).await;
        usize::from(a + b + d) + c.len()
    }
    let expect = expect_runs(1);
    assert_eq!(
        block_on(f((1, 2), String::new(), "ccc".to_owned(), [4, 5, 6])),
        11
    );
    let expected = [("a", "1"), ("b", "2"), ("c", "ccc"), ("d", "4")];
    assert_eq!(
        expect.params(),
        expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
}

#[test]
fn async_mut_argument() {
    #[tracked]
    async fn f(mut a: Vec<u8>) -> Vec<u8> {
        a.push(1);
        a
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(vec![])), [1]);
}

#[test]
fn async_generic() {
    #[tracked]
    async fn f<T: Clone + Send, const N: usize>(a: &T) -> [T; N]
    where
        T: Default,
    {
        std::array::from_fn(|_| a.clone())
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f::<_, 2>(&1)), [1, 1]);
}

#[test]
fn async_impl_argument() {
    #[tracked]
    async fn f(a: impl FnOnce(&str) -> usize) -> usize {
        a("abc")
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(str::len)), 3);
}

#[test]
fn async_recursion() {
    #[tracked]
    async fn f(n: u32) -> u32 {
        if n == 0 {
            0
        } else {
            1 + Box::pin(f(n - 1)).await
        }
    }
    let _expect = expect_runs(4);
    assert_eq!(block_on(assert_send(f(3))), 3);
}

#[test]
fn async_recursion_through_a_send_box() {
    #[tracked]
    fn f(n: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move { if n == 0 { 0 } else { 1 + f(n - 1).await } })
    }
    let _expect = expect_runs(4);
    assert_eq!(block_on(f(3)), 3);
}

#[test]
fn async_method() {
    struct Model {
        n: u8,
    }
    impl Model {
        #[tracked]
        async fn by_ref(&self, a: u8) -> u8 {
            self.n + a
        }
        #[tracked]
        async fn by_mut(&mut self) -> &mut u8 {
            &mut self.n
        }
        #[tracked]
        async fn by_value(mut self) -> Self {
            self.n += 1;
            self
        }
    }
    let _expect = expect_runs(3);
    let mut model = Model { n: 1 };
    assert_eq!(block_on(model.by_ref(1)), 2);
    *block_on(model.by_mut()) = 5;
    assert_eq!(block_on(model.by_value()).n, 6);
}

#[test]
fn async_in_a_trait() {
    trait Fit {
        async fn fit(&self, a: u8) -> u8;
        #[tracked]
        async fn twice(&self, a: u8) -> u8 {
            self.fit(a).await + self.fit(a).await
        }
    }
    struct Model;
    impl Fit for Model {
        #[tracked]
        async fn fit(&self, a: u8) -> u8 {
            a
        }
    }
    let _expect = expect_runs(3);
    assert_eq!(block_on(Model.twice(2)), 4);
}

#[test]
fn a_future_in_a_trait() {
    trait Fit {
        fn fit(&self) -> impl Future<Output = u8> + Send;
    }
    struct Model;
    impl Fit for Model {
        #[tracked]
        async fn fit(&self) -> u8 {
            1
        }
    }
    struct Other;
    impl Fit for Other {
        #[tracked]
        fn fit(&self) -> impl Future<Output = u8> + Send {
            async { 2 }
        }
    }
    let _expect = expect_runs(2);
    assert_eq!(
        block_on(assert_send(Model.fit())) + block_on(assert_send(Other.fit())),
        3
    );
}

#[test]
fn async_method_of_a_pointer() {
    struct Model {
        n: u8,
    }
    impl Model {
        #[tracked]
        async fn by_arc(self: Arc<Self>, a: Vec<u8>) -> u8 {
            self.n + a[0]
        }
        #[tracked]
        async fn by_box(mut self: Box<Self>) -> Box<Self> {
            self.n += 1;
            self
        }
        #[tracked]
        async fn by_pin(self: Pin<&mut Self>, a: &u8) -> u8 {
            self.n + a
        }
        #[tracked]
        async fn by_rc_ref(self: &Rc<Self>) -> Rc<Self> {
            Rc::clone(self)
        }
    }
    let expect = expect_runs(4);
    let mut model = Model { n: 1 };
    assert_eq!(block_on(Pin::new(&mut model).by_pin(&2)), 3);
    assert_eq!(block_on(Box::new(model).by_box()).n, 2);
    assert_eq!(block_on(Arc::new(Model { n: 1 }).by_arc(vec![3])), 4);
    assert_eq!(block_on(Rc::new(Model { n: 1 }).by_rc_ref()).n, 1);
    assert_eq!(expect.params().len(), 2);
}

/// The method is written by hand as `async_trait` would expand it.
#[test]
fn async_trait_outside() {
    #[async_trait::async_trait]
    trait Fit {
        async fn fit(&self, a: &str) -> Result<usize, String>;
    }
    struct Model;
    impl Fit for Model {
        #[tracked]
        fn fit<'life0, 'life1, 'async_trait>(
            &'life0 self,
            a: &'life1 str,
        ) -> Pin<Box<dyn Future<Output = Result<usize, String>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(inner(a))
        }
    }
    #[tracked]
    async fn inner(a: &str) -> Result<usize, String> {
        Ok(a.len())
    }
    let expect = expect_runs(2);
    let fit: &dyn Fit = &Model;
    assert_eq!(block_on(assert_send(fit.fit("ab"))), Ok(2));
    assert_eq!(expect.params().len(), 2);
}

#[test]
fn with_async_trait() {
    #[async_trait::async_trait]
    trait Fit: Sync {
        async fn fit(&self, a: &str) -> Result<usize, String>;
        #[tracked]
        async fn default(&self) -> usize {
            1
        }
    }
    struct Inside;
    #[async_trait::async_trait]
    impl Fit for Inside {
        #[tracked]
        async fn fit(&self, a: &str) -> Result<usize, String> {
            if a.is_empty() {
                return Err("empty".to_owned());
            }
            Ok(a.len())
        }
    }
    struct Local;
    #[async_trait::async_trait(?Send)]
    trait FitLocal {
        async fn fit(&self, a: Rc<u8>) -> u8;
    }
    #[async_trait::async_trait(?Send)]
    impl FitLocal for Local {
        #[tracked]
        async fn fit(&self, a: Rc<u8>) -> u8 {
            *a
        }
    }
    let expect = expect_runs(4);
    let fit: &dyn Fit = &Inside;
    assert_eq!(block_on(fit.fit("ab")), Ok(2));
    assert!(block_on(fit.fit("")).is_err());
    assert_eq!(block_on(fit.default()), 1);
    assert_eq!(block_on(Local.fit(Rc::new(3))), 3);
    assert_eq!(expect.params().len(), 3);
}

#[test]
fn impl_future_without_statements() {
    #[tracked]
    fn f(a: u8) -> impl Future<Output = u8> {
        async move { a }
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(assert_send(f(1))), 1);
}

#[test]
fn impl_future_with_statements() {
    #[tracked]
    fn f(a: &str) -> impl Future<Output = usize> + '_ {
        let a = a.trim();
        async move { a.len() }
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(" a ")), 1);
}

#[test]
fn impl_future_that_is_ready() {
    #[tracked]
    fn f(a: u8) -> impl Future<Output = u8> + Unpin + Send {
        std::future::ready(a)
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(1)), 1);
}

#[test]
fn impl_future_with_use() {
    #[tracked]
    fn f<'a, T: Send>(a: &'a str, _b: T) -> impl Future<Output = usize> + use<'a, T> {
        async move { a.len() }
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f("a", 1)), 1);
}

#[test]
fn boxed_future_with_statements() {
    #[tracked]
    fn f<'a>(a: &'a str) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
        let a = a.trim();
        Box::pin(async move { a.len() })
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(" a ")), 1);
}

#[test]
fn boxed_future_with_early_return() {
    #[tracked]
    fn f(
        a: Option<u8>,
    ) -> ::std::pin::Pin<::std::boxed::Box<dyn ::std::future::Future<Output = u8>>> {
        let Some(a) = a else {
            return Box::pin(std::future::ready(0));
        };
        Box::pin(async move { a })
    }
    let _expect = expect_runs(2);
    assert_eq!(block_on(f(Some(1))) + block_on(f(None)), 1);
}

#[test]
fn boxed_local_future() {
    #[tracked]
    fn f(a: Rc<u8>) -> Pin<Box<dyn Future<Output = u8>>> {
        Box::pin(async move { *a })
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f(Rc::new(1))), 1);
}

#[test]
fn a_cell_argument_leaves_the_future_send() {
    #[tracked]
    async fn f(a: &str, b: Cell<u8>) -> u8 {
        let b = b.into_inner();
        std::future::ready(()).await;
        b + u8::try_from(a.len()).unwrap_or(0)
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(assert_send(f("a", Cell::new(1)))), 2);
}

#[test]
fn an_rc_output_leaves_the_future_send() {
    #[tracked]
    async fn f(a: u8) -> Rc<u8> {
        std::future::ready(()).await;
        Rc::new(a)
    }
    let _expect = expect_runs(1);
    assert_eq!(*block_on(assert_send(f(1))), 1);
}

#[test]
fn an_error_that_is_not_send() {
    #[tracked]
    async fn f() -> Result<(), Rc<str>> {
        std::future::ready(()).await;
        Err("no".into())
    }
    let _expect = expect_runs(1);
    assert!(block_on(assert_send(f())).is_err());
}

#[test]
fn an_async_block_inside_keeps_its_own_items() {
    #[tracked]
    async fn f() -> Result<u8, ()> {
        #[allow(dead_code)]
        struct Result;
        Ok(1)
    }
    let _expect = expect_runs(1);
    assert_eq!(block_on(f()), Ok(1));
}

#[test]
fn spawned() {
    #[tracked]
    async fn f(a: String) -> usize {
        a.len()
    }
    let _expect = expect_runs(1);
    let len = block_on(async { tokio::spawn(f("ab".to_owned())).await });
    assert_eq!(len.ok(), Some(2));
}
