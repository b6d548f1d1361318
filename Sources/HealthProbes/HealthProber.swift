import Logging
import NIOCore
import OrchestryModel
import Synchronization

/// Probes instances as their checks say: HTTP (redirects are not followed), a TCP connection, or a command in the
/// container, on event loops, without a thread for each.
///
/// The first probe goes out at once. Until an instance has been ready once (`successThreshold` successes in a row) it is
/// probed each 250 ms (or `periodSeconds`, if shorter) for a minute at most, a new one each 50 ms for the first 5 s (not
/// with a command); whatever `initialDelaySeconds` says: that delay is about *failing* an instance, which is the receiver's
/// decision. Afterwards each period, ±10%.
package final class HealthProber: Sendable {
    /// What a probe is for; an instance may have one of each.
    package enum Purpose: Hashable, Sendable { case readiness, liveness }
    /// Runs a command in an instance's container and returns its exit code, or throws `ProbeFailure`, within a little more
    /// than the limit.
    package typealias CommandRunner =
        @Sendable (_ command: [String], _ limit: Duration) async throws(ProbeFailure) -> Int

    private struct Key: Hashable {
        var instance: InstanceID
        var purpose: Purpose
    }

    private let eventLoopGroup: any EventLoopGroup
    private let logger: Logger
    private let probes = Mutex<[Key: InstanceProbe]>([:])

    /// - Parameter eventLoopGroup: is not shut down by the prober.
    package init(eventLoopGroup: any EventLoopGroup, logger: Logger) {
        self.eventLoopGroup = eventLoopGroup
        self.logger = logger
    }

    /// Begins to probe; probing of the same instance that was under way is replaced.
    /// - Parameters:
    ///   - check: `kind: none` gives a success each time without asking anybody.
    ///   - probeEndpoint: exactly what is connected to. `check.port` plays no part here, because it is a port *inside* the
    ///     container: the engine's `ManagedContainer.probeEndpoint` has it translated. nil: only a command can succeed.
    ///   - isNew: its container has just been started, so it fails for a moment and then succeeds.
    ///   - runCommand: for `kind: command`.
    ///   - onResult: called on an event loop, so it must not block; results of one instance come in order.
    package func start(
        _ instance: InstanceID, purpose: Purpose = .readiness, check: AppSpec.HealthCheck, probeEndpoint: Endpoint?,
        isNew: Bool = false, runCommand: CommandRunner? = nil,
        onResult: @escaping @Sendable (InstanceID, ProbeResult) -> Void
    ) {
        let probe = InstanceProbe(
            instance: instance, check: check, endpoint: probeEndpoint, eventLoop: eventLoopGroup.next(),
            isUrgent: purpose == .readiness, isNew: isNew, runCommand: runCommand, onResult: onResult)
        let key = Key(instance: instance, purpose: purpose)
        let previous = probes.withLock { probes in
            defer { probes[key] = probe }
            return probes[key]
        }
        previous?.stop()
        probe.start()
        logger.debug(
            "probing",
            metadata: ["instance": "\(instance)", "endpoint": "\(probeEndpoint.map(String.init(describing:)) ?? "-")"])
    }

    /// Ends the probing of an instance, for one purpose or for all; one that is not probed is fine. No result is delivered
    /// after this returns, except one whose delivery had already begun on another thread.
    package func stop(_ instance: InstanceID, _ purpose: Purpose? = nil) {
        let ended = probes.withLock { probes in
            [Purpose.readiness, .liveness].filter { purpose == nil || purpose == $0 }.compactMap {
                probes.removeValue(forKey: Key(instance: instance, purpose: $0))
            }
        }
        for probe in ended { probe.stop() }
    }

    /// Ends all probing and waits until the last connection is closed.
    package func shutdown() async {
        let all = probes.withLock { probes in
            defer { probes = [:] }
            return Array(probes.values)
        }
        for closing in all.map({ $0.stop() }) {
            // A probe's end is only ever a success.
            try? await closing.get()
        }
    }
}
