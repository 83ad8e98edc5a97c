import picocolors from 'picocolors';

/** Colour on a terminal only: picocolors by itself also colours what CI collects. NO_COLOR turns it off. */
const colors = picocolors.createColors(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);

export default colors;
