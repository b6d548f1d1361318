import ArgumentParser
import Foundation
import Hummingbird
import Logging
import Measuring
import NIOCore

/// A server that does nothing but answer, as a process of its own: for `rest` and `stall`.
struct BareServerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bare-server", abstract: "Answers /text and /file; other commands start it.", shouldDisplay: false)

    @Option var port: Int
    @Option(help: "What /file answers.") var file: String?

    func run() async throws {
        let bytes = try file.map { ByteBuffer(bytes: try Data(contentsOf: URL(filePath: $0))) } ?? ByteBuffer()
        let router = Router()
        router.get("text") { _, _ in "ok" }
        router.get("file") { _, _ in bytes }
        var logger = Logger(label: "bare-server")
        logger.logLevel = .error
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)), logger: logger)
        try await application.runService()
    }
}

/// A `bare-server` that was started, and must be stopped.
struct BareServer: Sendable {
    let server: Server
    let pid: pid_t

    /// Starts one and waits until it answers.
    init(file: String? = nil) async throws {
        let ports = try await freePorts(1)
        server = Server(host: "127.0.0.1", port: ports[0])
        guard let program = Bundle.main.executablePath else { throw BenchFailure("this program's path is unknown") }
        let command =
            "'\(program)' bare-server --port \(ports[0])" + (file.map { " --file '\($0)'" } ?? "") + " & echo $!"
        let said = try await Measuring.run(["sh", "-c", command])
        guard let pid = pid_t(said.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw BenchFailure("the bare server did not start: \(said)")
        }
        self.pid = pid
        let deadline = ContinuousClock.now + .seconds(10)
        // Not up yet is what is waited for.
        while (try? await HTTPRequest(.get, "/text").send(to: server)) == nil {
            guard ContinuousClock.now < deadline else {
                stop()
                throw BenchFailure("the bare server does not answer at \(server)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    func stop() {
        kill(pid, SIGCONT)
        kill(pid, SIGTERM)
    }
}
