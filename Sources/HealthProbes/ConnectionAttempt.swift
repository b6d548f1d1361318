import Glibc
import NIOCore
import NIOPosix
import OrchestryModel

/// Whether there is a way to an endpoint at all: a TCP connection that is opened and closed.
package enum ConnectionAttempt {
    /// A port where nobody listens (tcpmux): a host that is there refuses.
    private static let unusedPort = 1

    /// As `isAnswered`, by the endpoint or by its host: a server that is too busy to take connections in must not be taken for
    /// one that is cut off.
    package static func isAnswered(
        byHostOf endpoint: Endpoint, within limit: Duration, on group: any EventLoopGroup
    ) async -> Bool {
        async let host = isAnswered(by: Endpoint(host: endpoint.host, port: unusedPort), within: limit, on: group)
        if await isAnswered(by: endpoint, within: limit, on: group) { return true }
        return await host
    }

    /// - Returns: false only when nothing came back within `limit`, or there is no way there. A refusal is an answer, and
    ///   trouble of this machine's own (no descriptors, say) is not held against the other.
    package static func isAnswered(
        by endpoint: Endpoint, within limit: Duration, on group: any EventLoopGroup
    ) async -> Bool {
        do {
            let address = try SocketAddress(ipAddress: endpoint.host, port: endpoint.port)
            let channel = try await ClientBootstrap(group: group)
                .connectTimeout(.nanoseconds(limit.inNanoseconds)).connect(to: address).get()
            channel.close(promise: nil)
            return true
        } catch let error as IOError {
            return ![EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, EHOSTDOWN].contains(error.errnoCode)
        } catch ChannelError.connectTimeout {
            return false
        } catch {
            return true
        }
    }
}
