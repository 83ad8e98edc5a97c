/** Kinds of fields that the policy's sections share. */
import * as z from 'zod/mini';

/** Longest list of accepted values. */
export const MAX_LIST = 1024;

/** Bytes as hexadecimal, lower case afterwards. */
export const hex = (bytes: number) =>
  z.string().check(
    // No flag: the pattern stands in the JSON Schema too, which has none.
    z.regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `must be ${2 * bytes} hexadecimal digits`),
    z.toLowerCase(),
  );

/** Accepted values of so many bytes; none by default. */
export const hexList = (bytes: number) => z._default(z.array(hex(bytes)).check(z.maxLength(MAX_LIST)), []);
/** A switch that is off by default. */
export const flag = (byDefault = false) => z._default(z.boolean(), byDefault);
/** A whole number up to `limit`. */
export const integer = (limit: number) => z.number().check(z.int(), z.minimum(0), z.maximum(limit));
