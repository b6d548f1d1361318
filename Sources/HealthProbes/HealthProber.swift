import Logging
import NIOCore
import OrchestryModel
import Synchronization

/// Probes instances as their checks say: HTTP (redirects are not followed) or a TCP connection, on event loops, without a
/// thread or a task for each.
///
/// The first probe goes out at once. Until an instance has been ready once (`successThreshold` successes in a row) it is
/// probed each 250 ms (or `periodSeconds`, if shorter) for a minute at most, whatever `initialDelaySeconds` says: that delay
/// is about *failing* an instance, which is the receiver's decision. Afterwards each period, ±10%.
package final class HealthProber: Sendable {
    private let eventLoopGroup: any EventLoopGroup
    private let logger: Logger
    private let probes = Mutex<[InstanceID: InstanceProbe]>([:])

    /// - Parameter eventLoopGroup: is not shut down by the prober.
    package init(eventLoopGroup: any EventLoopGroup, logger: Logger) {
        self.eventLoopGroup = eventLoopGroup
        self.logger = logger
    }

    /// Begins to probe; probing of the same instance that was under way is replaced.
    /// - Parameters:
    ///   - check: `kind: none` gives a success each time without asking anybody.
    ///   - probeEndpoint: exactly what is connected to. `check.port` plays no part here, because it is a port *inside* the
    ///     container: the engine's `ManagedContainer.probeEndpoint` has it translated.
    ///   - onResult: called on an event loop, so it must not block; results of one instance come in order.
    package func start(
        _ instance: InstanceID, check: AppSpec.HealthCheck, probeEndpoint: Endpoint,
        onResult: @escaping @Sendable (InstanceID, ProbeResult) -> Void
    ) {
        let probe = InstanceProbe(
            instance: instance, check: check, endpoint: probeEndpoint, eventLoop: eventLoopGroup.next(),
            onResult: onResult)
        let previous = probes.withLock { probes in
            defer { probes[instance] = probe }
            return probes[instance]
        }
        previous?.stop()
        probe.start()
        logger.debug("probing", metadata: ["instance": "\(instance)", "endpoint": "\(probeEndpoint)"])
    }

    /// Ends the probing of an instance; one that is not probed is fine. No result is delivered after this returns, except
    /// one whose delivery had already begun on another thread.
    package func stop(_ instance: InstanceID) {
        _ = probes.withLock { $0.removeValue(forKey: instance) }?.stop()
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
