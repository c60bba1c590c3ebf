import type { Command } from 'commander';
import type { Register } from './program-parts.ts';

export function addRunCommands(_program: Command, _perform: Register): void {}
