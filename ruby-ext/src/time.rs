//! Spans of time, as Ruby gives them.

use std::time::Duration;

use magnus::{Error, Float, Integer, Ruby, Value, prelude::*};

/// A number of seconds; nothing for nil. Refuses what is negative or no time, as stock Ruby does.
pub(crate) fn span(ruby: &Ruby, value: Value) -> Result<Option<Duration>, Error> {
    if value.is_nil() {
        return Ok(None);
    }
    let seconds = match (Integer::from_value(value), Float::from_value(value)) {
        (Some(integer), _) => integer.to_i64()? as f64,
        (_, Some(float)) => float.to_f64(),
        _ if value.respond_to("divmod", false)? => value.funcall::<_, _, f64>("to_f", ())?,
        _ => {
            // SAFETY: a live object.
            let class = unsafe { value.classname() }.into_owned();
            let message = format!("can't convert {class} into time interval");
            return Err(Error::new(ruby.exception_type_error(), message));
        }
    };
    if seconds.is_nan() {
        return Err(Error::new(ruby.exception_range_error(), "NaN out of Time range"));
    }
    if seconds < 0.0 {
        return Err(Error::new(ruby.exception_arg_error(), "time interval must not be negative"));
    }
    // Three hundred years are for ever.
    Ok(Some(Duration::try_from_secs_f64(seconds.min(1e10)).expect("checked: neither negative nor too large")))
}
