//! The codes of second factors: whether one is good, which uses it up.

use anyhow::Context as _;
use contract::{
    AccountId,
    api::problem::Code,
    keys::MasterKey,
    second_factor::{RecoveryKey, TotpSecret, TypedCode},
};
use platform::{
    clock,
    http::{ApiError, ApiResult},
};
use store::{
    Pool,
    second_factors::{self, SecondFactor},
};

use crate::errors::database;

/// Checks codes.
pub(crate) struct Codes {
    pool: Pool,
    master: MasterKey,
    recovery: RecoveryKey,
}

impl Codes {
    pub(crate) fn new(master: &MasterKey, pool: Pool) -> Self {
        Self { pool, master: master.clone(), recovery: RecoveryKey::new(master) }
    }

    /// Whether the code is good for this account, if it needs one. A good code is used up. Without
    /// a code where one is needed: 401 `SECOND_FACTOR_REQUIRED`.
    pub(crate) async fn accepts(&self, account: AccountId, code: Option<&str>) -> ApiResult<bool> {
        let found = second_factors::find(&self.pool, account).await.map_err(database)?;
        let Some(factor) = found.filter(|factor| factor.is_confirmed) else { return Ok(true) };
        let used = match TypedCode::parse(code.ok_or_else(required)?) {
            None => return Ok(false),
            Some(TypedCode::Totp(code)) => {
                let secret = self.open(account, &factor)?;
                let Some(step) = secret.step_of(&code, clock::now()) else { return Ok(false) };
                second_factors::use_code(&self.pool, account, &factor.sealed_secret, step).await
            }
            Some(TypedCode::Recovery(code)) => {
                let mac = self.recovery.mac(account, &code);
                second_factors::use_recovery_code(&self.pool, account, &mac).await
            }
        };
        used.map_err(database)
    }

    /// The step of a first code of the app; `None` if the code is wrong.
    pub(crate) fn first_step(
        &self,
        account: AccountId,
        pending: &SecondFactor,
        code: &str,
    ) -> ApiResult<Option<i64>> {
        let secret = self.open(account, pending)?;
        Ok(match TypedCode::parse(code) {
            Some(TypedCode::Totp(code)) => secret.step_of(&code, clock::now()),
            _ => None,
        })
    }

    /// New recovery codes, with the hashes to store.
    pub(crate) fn for_recovery(&self, account: AccountId) -> (Vec<String>, Vec<Vec<u8>>) {
        self.recovery.generate(account)
    }

    /// Encrypts a secret for the database.
    pub(crate) fn seal(&self, account: AccountId, secret: &TotpSecret) -> Vec<u8> {
        secret.seal(&self.master, account)
    }

    fn open(&self, account: AccountId, factor: &SecondFactor) -> ApiResult<TotpSecret> {
        TotpSecret::open(&self.master, account, &factor.sealed_secret)
            .context("the second factor of an account cannot be read")
            .map_err(ApiError::internal)
    }
}

fn required() -> ApiError {
    let detail = "the password is right; send the code of the authenticator app as `code` too";
    ApiError::new(Code::SecondFactorRequired, detail)
}

/// 401 for a code that is wrong or used.
pub(crate) fn wrong_code() -> ApiError {
    let detail = "this code is wrong or was used; wait for the next one of the authenticator app";
    ApiError::new(Code::SecondFactorWrong, detail)
}
