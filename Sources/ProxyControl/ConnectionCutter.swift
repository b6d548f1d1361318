import Foundation
import Logging
import OrchestryModel

/// Ends this machine's connections to endpoints that can't be reached any more, so that whoever waits on one (nginx, for a
/// request under way) learns of it now and not after the app's read time-out. It is what a load balancer does with the
/// sessions of a server it marks as down.
///
/// By `ss --kill` of iproute2, which needs root, and Linux with CONFIG_INET_DIAG_DESTROY (Debian's has it). Blocks, on a
/// queue of its own.
package actor ConnectionCutter {
    private nonisolated let executor = SerialQueueExecutor(label: "orchestry.proxy.cutter")
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// More don't fit into one filter comfortably.
    private static let most = 64
    private let folder: String
    private let logger: Logger
    private var hasComplained = false

    /// - Parameter folder: for the program's output.
    package init(folder: String, logger: Logger) {
        self.folder = folder
        self.logger = logger
    }

    /// Best effort: where it can't be done, requests under way wait for their time-out, and that is said once.
    package func cut(_ endpoints: Set<Endpoint>) {
        let places = endpoints.map(\.description).sorted()
        for start in stride(from: 0, to: places.count, by: Self.most) {
            let filter = places[start..<min(start + Self.most, places.count)].map { "dst \($0)" }
                .joined(separator: " or ")
            do throws(ProxyError) {
                let program = "ss"
                guard let binary = Self.find(program) else {
                    throw ProxyError(
                        .notInstalled, while: "ending connections", "\(program) (iproute2) is not installed")
                }
                let outcome = try Command.run(
                    binary, ["--kill", "--tcp", "--no-header", "--numeric", "( \(filter) )"], folder: folder,
                    output: folder + "/ss.out", timeout: 5)
                guard outcome.status == 0, !outcome.output.contains("SOCK_DESTROY answers") else {
                    throw ProxyError(
                        .inputOutput, while: "ending connections", "status \(outcome.status): \(outcome.output)")
                }
            } catch {
                logger.log(
                    level: hasComplained ? .debug : .warning,
                    "Requests to instances that can't be reached wait for their time-out: connections can't be ended here",
                    metadata: ["error": "\(error)"])
                hasComplained = true
            }
        }
    }

    private static func find(_ program: String) -> String? {
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map { "\($0)/\(program)" }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}
