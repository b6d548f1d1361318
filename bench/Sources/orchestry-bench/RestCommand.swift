import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// Reads of the REST facade beside a server that does nothing else.
struct RestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rest",
        abstract: "Reads a second of a node's REST facade with 50 apps, beside a bare Hummingbird route.",
        discussion: """
            Registers --apps apps (never started) on a running cluster, reads `GET /apps`, one app's status and /health at \
            one node that leads and one that does not, and removes the apps. The baseline is a process of its own with \
            two Hummingbird routes: one that answers two bytes, and one that answers the bytes of our `GET /apps`. All \
            take turns under `wrk` where it is installed, else under the bench's own closed loop.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench rest --yes
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "Apps.") var apps = 50
    @Option(help: "Rounds, in each of which every contender has one turn.") var repetitions = 5
    @Option(help: "Seconds of a turn.") var seconds = 3
    @Option(help: "Connections.") var connections = 32
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((1...1_000).contains(apps), "--apps must be 1 to 1000")
        try require(repetitions > 0 && seconds > 0 && connections > 0, "--repetitions and the like must be above 0")
    }

    private struct Contender {
        var name: String
        var server: Server
        var path: String
        var results: [Saturation.Result] = []
        var rate: Double? { Summary(results.map(\.requestsPerSecond))?.p50 }
    }

    private func names() -> [String] { (0..<apps).map { "bench-rest-\($0)" } }

    func run() async throws {
        let client = try cluster.client()
        progress("registering \(apps) apps")
        let made = names().map { BenchApp(name: $0, client: client, image: "orchestry-bench-never-started:1") }
        do {
            for app in made { try await app.register() }
            try await measure(client)
        } catch {
            for app in made { await app.delete() }
            throw error
        }
        for app in made { await app.delete() }
    }

    private func measure(_ client: ControlClient) async throws {
        let (leader, follower) = try await roles(client)
        let body = try await HTTPRequest(.get, "/apps").send(to: leader).text
        let file = FileManager.default.temporaryDirectory.appending(path: "orchestry-bench-\(UUID().uuidString)")
        try Data(body.utf8).write(to: file)
        // What can't be removed lies in the system's folder for such things.
        defer { try? FileManager.default.removeItem(at: file) }
        let bare = try await BareServer(file: file.path(percentEncoded: false))
        defer { bare.stop() }
        var contenders = [
            Contender(name: "bare route, 2 bytes", server: bare.server, path: "/text"),
            Contender(name: "bare route, the bytes of GET /apps", server: bare.server, path: "/file"),
            Contender(name: "GET /health, leader", server: leader, path: "/health"),
            Contender(name: "GET /apps, leader", server: leader, path: "/apps"),
            Contender(name: "GET /apps/{name}/status, leader", server: leader, path: "/apps/bench-rest-0/status"),
        ]
        if let follower {
            contenders.append(Contender(name: "GET /apps, follower", server: follower, path: "/apps"))
            contenders.append(
                Contender(
                    name: "GET /apps/{name}/status, follower", server: follower, path: "/apps/bench-rest-0/status"))
        }
        let generator = await Saturation.find(connections: connections)
        for contender in contenders { _ = try await generator.run(contender.server, contender.path, for: 1) }
        for round in 0..<repetitions {
            for turn in contenders.indices {
                let position = (turn + round) % contenders.count
                contenders[position].results.append(
                    try await generator.run(contenders[position].server, contenders[position].path, for: seconds))
            }
            progress("round \(round + 1) of \(repetitions) done")
        }
        try report(contenders, bytes: body.utf8.count, generator)
    }

    /// Who leads, and somebody who does not.
    private func roles(_ client: ControlClient) async throws -> (leader: Server, follower: Server?) {
        var leader: Server?
        var follower: Server?
        for server in client.servers {
            let status = try await HTTPRequest(.get, "/cluster/status").send(to: server).body
            if status?["is_leader"]?.boolValue == true { leader = server } else { follower = follower ?? server }
        }
        guard let leader else { throw BenchFailure("none of the nodes says that it leads") }
        return (leader, follower)
    }

    private func report(_ contenders: [Contender], bytes: Int, _ generator: Saturation) throws {
        var report = Report(
            "rest",
            setting: "\(apps) apps, \(repetitions) rounds of \(seconds) s, \(connections) connections of "
                + "\(generator.words); GET /apps is \(Report.format(Double(bytes))) bytes")
        var table = Report.Table(
            "requests per second", columns: ["n", "median", "lowest", "highest", "p50 ms", "p99 ms", "failed"])
        for contender in contenders {
            let rates = contender.results.map(\.requestsPerSecond)
            table.add(
                contender.name,
                [
                    Double(rates.count), contender.rate, rates.min(), rates.max(),
                    Summary(contender.results.compactMap(\.p50))?.p50,
                    Summary(contender.results.compactMap(\.p99))?.p50,
                    contender.results.reduce(0) { $0 + $1.failures },
                ])
        }
        report.tables = [table]
        for contender in contenders.dropFirst(2) {
            report.compare(
                contender.name, contender.rate, with: contenders[0].rate, called: contenders[0].name, better: .higher)
            guard contender.path == "/apps" else { continue }
            report.compare(
                contender.name, contender.rate, with: contenders[1].rate, called: contenders[1].name, better: .higher)
        }
        let apps = contenders.first { $0.name == "GET /apps, leader" }?.rate
        report.goal(
            "GET /apps ÷ bare route with the same bytes", contenders[1].rate.flatMap { bare in apps.map { $0 / bare } },
            atLeast: 0.5)
        try output.finish(report)
    }
}
