/**
 * Colours for people: on a terminal, unless NO_COLOR says otherwise, or where FORCE_COLOR asks for them. Never in
 * what is piped, not even under CI, where picocolors alone would colour.
 * @module
 */
import process from 'node:process';
import pc from 'picocolors';

const isWanted = process.stdout.isTTY === true || process.env.FORCE_COLOR !== undefined;

export const colors = pc.createColors(isWanted && pc.isColorSupported);
