import { runAttacks, tourAttacks } from '../../attacks/index.js';
import type { Tour } from '../tour.js';

/** The attacking guest: every attack is a process of its own, and each line says as whom it ran. */
export async function adversary(tour: Tour): Promise<void> {
  tour.begin('The guest attacks');
  await runAttacks(tourAttacks, {
    onResult: (result) => {
      tour.record(
        `${result.name} (as ${result.as})`,
        `${result.held ? 'held' : 'BROKEN'}: ${result.observed}`,
        result.held,
      );
    },
  });
}
