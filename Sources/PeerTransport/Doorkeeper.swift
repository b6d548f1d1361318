import Synchronization

/// Decides who may come in before anything is spent on a connection, by how many are in from where. Any thread.
package final class Doorkeeper: Sendable {
    package struct Limits: Hashable, Sendable {
        /// Connections whose Hello exchange is not over, from everywhere and from one address.
        package var halfOpen: Int
        package var halfOpenPerAddress: Int
        /// All connections from one address.
        package var perAddress: Int
        package init(halfOpen: Int, halfOpenPerAddress: Int, perAddress: Int) {
            self.halfOpen = halfOpen
            self.halfOpenPerAddress = halfOpenPerAddress
            self.perAddress = perAddress
        }
    }

    private struct Guests {
        var halfOpen = 0
        var all = 0
    }
    private struct State {
        var halfOpen = 0
        /// Only addresses somebody is in from, so it is no longer than there are connections.
        var guests: [String: Guests] = [:]
    }

    private let limits: Limits
    private let state = Mutex(State())

    package init(limits: Limits) { self.limits = limits }

    /// - Returns: nil: let in, half-open. Otherwise why not, for the log.
    package func enter(_ address: String) -> String? {
        state.withLock { state in
            let guests = state.guests[address] ?? Guests()
            guard state.halfOpen < limits.halfOpen else {
                return "too many connections have not introduced themselves (\(limits.halfOpen))"
            }
            guard guests.halfOpen < limits.halfOpenPerAddress else {
                return "too many connections of this address have not introduced themselves "
                    + "(\(limits.halfOpenPerAddress))"
            }
            guard guests.all < limits.perAddress else {
                return "too many connections of this address (\(limits.perAddress))"
            }
            state.halfOpen += 1
            state.guests[address] = Guests(halfOpen: guests.halfOpen + 1, all: guests.all + 1)
            return nil
        }
    }

    /// The Hello exchange is over.
    package func introduced(_ address: String) {
        state.withLock { state in
            state.halfOpen -= 1
            state.guests[address]?.halfOpen -= 1
        }
    }

    package func leave(_ address: String, wasIntroduced: Bool) {
        state.withLock { state in
            if !wasIntroduced {
                state.halfOpen -= 1
                state.guests[address]?.halfOpen -= 1
            }
            state.guests[address]?.all -= 1
            if state.guests[address]?.all == 0 { state.guests[address] = nil }
        }
    }

    /// Connections that have not introduced themselves yet.
    package var halfOpen: Int { state.withLock { $0.halfOpen } }
}
