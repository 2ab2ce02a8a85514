//! Snapshot tests of formatted expansions, one for each kind of function.

use proc_macro2::TokenStream;
use quote::quote;

use mlflow_rules::git::GitInfo;

use crate::build_info::BuildInfo;

fn formatted(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("an expansion is a file"))
}

fn expanded(arguments: TokenStream, item: TokenStream) -> String {
    formatted(crate::expand::tracked::expand_tracked(
        arguments,
        item,
        BuildInfo::default,
    ))
}

macro_rules! snapshot {
    ($name:ident, [$($arguments:tt)*], $($item:tt)*) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(expanded(quote!($($arguments)*), quote!($($item)*)));
        }
    };
}

snapshot! { sync, [experiment = "wine", run_name = "lr-{alpha:.2}-{timestamp}", tags(model = "net"), params(twice = alpha * 2.0)],
    /// Fits.
    pub fn train(alpha: f64, data: &[f64], mut model: Model) -> Result<Scores, Error> {
        model.fit(alpha, data)
    }
}

snapshot! { nothing_to_capture, [skip_all, root],
    fn train(a: u8) {
        body(a);
    }
}

snapshot! { r#async, [],
    async fn train(alpha: f64, text: &str) -> Result<impl Display, Error> {
        fit(alpha, text).await
    }
}

snapshot! { async_kept, [],
    #[tokio::main]
    async fn main() {
        run().await
    }
}

snapshot! { alias_of_a_boxed_future, [],
    fn train(&self, alpha: f64) -> BoxFuture<'_, f64> {
        Box::pin(fit(alpha))
    }
}

snapshot! { method, [hash(data), redact(b), metric = "loss"],
    pub(crate) async unsafe fn fit(self, data: Vec<u8>, a: &Self, b: u8) -> Option<f64> {
        self.inner(data, a, b).await
    }
}

snapshot! { never, [],
    fn serve(port: u16) -> ! {
        loop {}
    }
}

snapshot! { boxed_future, [skip_return],
    fn fit<'a>(&'a self, api_token: &'a str) -> Pin<Box<dyn Future<Output = u8> + Send + 'a>> {
        Box::pin(async move { api_token.len() })
    }
}

snapshot! { impl_future, [],
    fn fit(n: u8) -> impl Future<Output = u8> + Send {
        let n = n + 1;
        async move { n }
    }
}

snapshot! { generic, [metrics("a", "b")],
    extern "C" fn fit<'a, T: Clone, const N: usize>(x: &'a mut T, y: [T; N]) -> (f64, f64)
    where
        T: 'a,
    {
        both(x, y)
    }
}

snapshot! { patterns, [tags(sum = a + b), skip(c)],
    fn fit((a, mut b): (u8, u8), Point { c, ref d, .. }: Point, #[cfg(unix)] mut e: u8, _: u8) -> u8 {
        b += a;
        e
    }
}

#[test]
fn the_build() {
    let build_info = BuildInfo {
        git: GitInfo {
            commit: Some("0123".to_owned()),
            branch: None,
            url: Some("https://host/repo".to_owned()),
            dirty: Some(true),
        },
        lock: Some("4567".to_owned()),
        features: Some("cuda,default".to_owned()),
        watched_files: Some(vec!["/repo/.git/HEAD".into()]),
    };
    insta::assert_snapshot!(formatted(crate::expand::tracked::expand_tracked(
        quote!(),
        quote!(
            fn f() {}
        ),
        || build_info
    )));
}

snapshot! { inferred_from_the_signature, [],
    fn empty(a: Vec<u8>) -> Result<impl IntoIterator<Item = Sample>, Error> {
        Ok(vec![])
    }
}

macro_rules! timed_snapshot {
    ($name:ident, [$($arguments:tt)*], $($item:tt)*) => {
        #[test]
        fn $name() {
            let (arguments, item) = (quote!($($arguments)*), quote!($($item)*));
            insta::assert_snapshot!(formatted(crate::expand::timed::expand_timed(arguments, item)));
        }
    };
}

timed_snapshot! { timed, [name = "load/data"],
    async fn load(a: u8) -> u8 {
        a
    }
}

timed_snapshot! { timed_impl_future, [],
    fn load((a, _): (u8, u8), b: u8) -> impl Future<Output = u8> {
        async move { a + b }
    }
}

timed_snapshot! { timed_boxed_future, [],
    fn load(a: u8) -> Pin<Box<dyn Future<Output = u8>>> {
        Box::pin(async move { a })
    }
}

timed_snapshot! { timed_by_type, [],
    fn load(a: u8, b: &str) -> Job {
        job(a, b)
    }
}
