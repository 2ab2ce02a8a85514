//! Functions made by `macro_rules!`.

use super::expect_runs;

#[test]
fn from_fragments() {
    macro_rules! make {
        ($(#[$meta:meta])* $vis:vis $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
            $(#[$meta])*
            #[mlflow::tracked]
            $vis fn $name($($arg: $ty),*) -> $ret $body
        };
    }
    make! {
        /// Documented.
        pub(crate) made(a: u8, b: &str) -> Result<usize, String> {
            Ok(usize::from(a) + b.len())
        }
    }
    let expect = expect_runs(1);
    assert_eq!(made(1, "b"), Ok(2));
    assert_eq!(expect.params().len(), 2);
}

#[test]
fn from_an_item() {
    macro_rules! make {
        ($item:item) => {
            #[mlflow::tracked]
            $item
        };
    }
    make! {
        fn made(a: u8) -> u8 {
            a
        }
    }
    let _expect = expect_runs(1);
    assert_eq!(made(1), 1);
}

#[test]
fn same_name_different_hygiene() {
    macro_rules! make {
        ($a:ident) => {
            #[mlflow::tracked]
            fn made($a: u8, a: u16) -> u16 {
                u16::from($a) + a
            }
            #[mlflow::tracked]
            async fn made_async($a: u8, (a, _): (u16, u8)) -> u16 {
                u16::from($a) + a
            }
        };
    }
    make!(a);
    let expect = expect_runs(2);
    assert_eq!(made(1, 2), 3);
    assert_eq!(super::block_on(made_async(1, (2, 3))), 3);
    assert_eq!(
        expect.params()[..2],
        [
            ("a".to_owned(), "1".to_owned()),
            ("a_2".to_owned(), "2".to_owned())
        ]
    );
}

#[test]
fn never_from_a_fragment() {
    macro_rules! make {
        ($ret:ty) => {
            #[mlflow::tracked]
            fn made() -> $ret {
                panic!()
            }
        };
    }
    make!(!);
    let _expect = expect_runs(1);
    assert!(std::panic::catch_unwind(|| made()).is_err());
}

#[test]
fn future_from_fragments() {
    macro_rules! make {
        ($out:ty, $value:expr) => {
            #[mlflow::tracked]
            async fn made() -> $out {
                $value
            }
            #[mlflow::tracked]
            fn boxed() -> std::pin::Pin<Box<dyn std::future::Future<Output = $out>>> {
                Box::pin(async { $value })
            }
        };
    }
    make!(u8, 1 + 1);
    let _expect = expect_runs(2);
    assert_eq!(super::block_on(made()) + super::block_on(boxed()), 4);
}
