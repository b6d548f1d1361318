import ArgumentParser
import Foundation
import Measuring
import NIOCore
import NIOHTTP1
import NIOPosix
import OrchestryModel

/// How long the first request to an idle app takes.
struct ColdStartCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "coldstart",
        abstract: "Lets apps go to zero, and times the first request to each.",
        discussion: """
            Some apps of the bench's own (scaling.minReplicas 0) run on a cluster of this machine. They become idle by \
            themselves, by getting no request for --idle-seconds; as soon as nothing is left of one, one request is sent to \
            it through one of the proxies, on a connection of its own, and timed from before the connection to the end of \
            the answer. One at a time. Then as many requests as --concurrent says come at the same moment to one idle app.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench coldstart --yes \\
                --target http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103 \\
                --proxies http://127.0.0.1:8081,http://127.0.0.1:8082,http://127.0.0.1:8083
            """)

    @Option(help: "The REST URLs of all controllers, separated by commas.") var target: String
    @Option(help: "The URLs of their proxies, separated by commas.") var proxies: String
    @Option(help: "The image; answers /.") var image = "orchestry-demo:v1"
    @Option(help: "Cold starts to time.") var starts = 100
    @Option(help: "Apps that take turns: while one is timed, the others become idle.") var apps = 10
    @Option(help: "Requests at the same moment to one idle app; 0: none.") var concurrent = 1_000
    @Option(help: "Of the apps' scaling, 10 at least.") var idleSeconds = 10
    @Flag(help: "Yes, run apps on this cluster.") var yes = false
    @OptionGroup var output: OutputOptions

    /// Of the apps' scaling, seconds.
    private static let holdSeconds = 60

    func validate() throws {
        try require(yes, "this runs apps on the cluster: say --yes if that is what you want")
        _ = try (Server.list(target, option: "--target"), Server.list(proxies, option: "--proxies"))
        try require((0...100_000).contains(starts), "--starts must be 0 to 100000")
        try require((1...100).contains(apps), "--apps must be 1 to 100")
        try require((0...10_000).contains(concurrent), "--concurrent must be 0 to 10000")
        try require((10...3_600).contains(idleSeconds), "--idle-seconds must be 10 to 3600")
    }

    func run() async throws {
        let client = ControlClient(servers: try Server.list(target, option: "--target"))
        let proxies = try Server.list(proxies, option: "--proxies")
        var report = Report(
            "coldstart",
            setting:
                "\(starts) cold starts of \(apps) apps, one at a time, and \(concurrent) first requests at once; "
                + "idle after \(idleSeconds) s, \(proxies.count) proxies")
        do {
            try await begin(client)
            try await timeStarts(client, proxies, into: &report)
            if concurrent > 0 { try await crowd(client, proxies, into: &report) }
        } catch {
            await leave(client)
            throw error
        }
        await leave(client)
        try report.write(asJSON: output.json)
        if report.notes.contains(where: { $0.hasPrefix("failed") }) { throw ExitCode(1) }
    }

    // MARK: One at a time

    private func timeStarts(_ client: ControlClient, _ proxies: [Server], into report: inout Report) async throws {
        var milliseconds: [Double] = []
        var failures: [String] = []
        for number in 0..<starts {
            let name = name(number % apps)
            try await untilIdle(name, client)
            let begun = uptimeNanoseconds()
            let failure = await ask(name, at: proxies[number % proxies.count])
            let taken = Double(uptimeNanoseconds() - begun) / 1e6
            if let failure { failures.append("failed: start \(number + 1), \(name): \(failure)") }
            milliseconds.append(taken)
            if (number + 1).isMultiple(of: 10) { progress("\(number + 1) of \(starts) cold starts") }
        }
        var table = Report.Table(
            "first request of an idle app to the end of its answer, ms", columns: Summary.columns + ["errors"])
        let summary = Summary(milliseconds)
        table.add("cold start", (summary?.values ?? [0, nil, nil, nil, nil]) + [Double(failures.count)])
        report.tables.append(table)
        report.notes += failures
    }

    /// - Returns: why it was not answered with 200; nil: it was.
    private func ask(_ name: String, at server: Server) async -> String? {
        do {
            let connection = try await KeptConnection.open(server, on: .singleton)
            defer { connection.close() }
            let outcome = try await connection.send(head(name), within: .seconds(Int64(Self.holdSeconds + 30)))
            return outcome.status == 200 ? nil : "status \(outcome.status)"
        } catch {
            return "\(error)"
        }
    }

    private func head(_ name: String) -> HTTPRequestHead {
        HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: ["host": "\(name).test"])
    }

    // MARK: All at once

    private func crowd(_ client: ControlClient, _ proxies: [Server], into report: inout Report) async throws {
        let name = name(0)
        try await untilIdle(name, client)
        let before = try await (decisions(of: name, client), created(of: name, client))
        // Connected first, so that they ask at the same moment.
        var connections: [KeptConnection] = []
        for number in 0..<concurrent {
            connections.append(try await KeptConnection.open(proxies[number % proxies.count], on: .singleton))
        }
        let head = head(name)
        let begun = uptimeNanoseconds()
        let answers = await withTaskGroup(of: (Double, String?).self) { group in
            for connection in connections {
                group.addTask {
                    var failure: String?
                    do {
                        let outcome = try await connection.send(head, within: .seconds(Int64(Self.holdSeconds + 30)))
                        if outcome.status != 200 { failure = "status \(outcome.status)" }
                    } catch {
                        failure = "\(error)"
                    }
                    return (Double(uptimeNanoseconds() - begun) / 1e6, failure)
                }
            }
            var answers: [(Double, String?)] = []
            for await answer in group { answers.append(answer) }
            return answers
        }
        for connection in connections { connection.close() }
        // Decisions and events reach the database a little later.
        try await Task.sleep(for: .seconds(3))
        let after = try await (decisions(of: name, client), created(of: name, client))
        let failures = answers.compactMap(\.1)
        var table = Report.Table(
            "\(concurrent) first requests at once, ms from the first of them",
            columns: Summary.columns + ["errors", "instances", "decisions"])
        table.add(
            "crowd",
            (Summary(answers.map(\.0))?.values ?? [0, nil, nil, nil, nil])
                + [Double(failures.count), Double(after.1 - before.1), Double(after.0.subtracting(before.0).count)])
        report.tables.append(table)
        for (reason, count) in Dictionary(failures.map { ($0, 1) }, uniquingKeysWith: +).sorted(by: { $0.key < $1.key })
        {
            report.notes.append("failed: \(count) × \(reason)")
        }
    }

    /// Ids of those that made the app larger.
    private func decisions(of name: String, _ client: ControlClient) async throws -> Set<Int> {
        let answer = try await client.send(.get, "/apps/\(name)/metrics")
        let history = answer["scaling_history"]?.arrayValue ?? []
        return Set(history.filter { $0["to_replicas"]?.intValue ?? 0 > 0 }.compactMap { $0["id"]?.intValue })
    }

    private func created(of name: String, _ client: ControlClient) async throws -> Int {
        let answer = try await client.send(.get, "/events?app=\(name)&limit=1000")
        return answer["events"]?.arrayValue?.count { $0["event_type"]?.stringValue == "instance_created" } ?? 0
    }

    // MARK: The apps

    private func name(_ number: Int) -> String { "bench-cold-\(number + 1)" }

    private func document(_ name: String) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "App", "metadata": ["name": .string(name)],
            "spec": [
                "type": "http", "image": .string(image), "ports": [["containerPort": 9010, "protocol": "HTTP"]],
                "resources": ["cpu": "250m", "memory": "64Mi"], "routing": ["hosts": [.string("\(name).test")]],
                "termination": ["drainSeconds": 1, "gracePeriodSeconds": 1],
            ],
            "scaling": [
                "minReplicas": 0, "maxReplicas": 3, "targetRPSPerReplica": 10_000,
                "idleSeconds": JSONValue(idleSeconds), "holdSeconds": JSONValue(Self.holdSeconds), "holdLimit": 10_000,
            ],
            "healthCheck": ["path": "/health", "port": 9010, "periodSeconds": 1],
        ]
    }

    private func begin(_ client: ControlClient) async throws {
        progress("starting \(apps) apps")
        for number in 0..<apps {
            try await client.send(.post, "/apps/register", document(name(number)))
            try await client.send(.post, "/apps/\(name(number))/up")
        }
    }

    /// Waits until the app is idle and nothing of its last instance is left.
    private func untilIdle(_ name: String, _ client: ControlClient) async throws {
        try await client.wait(
            for: "\(name) to be idle", at: "/apps/\(name)/status", within: .seconds(Double(idleSeconds) + 120)
        ) {
            $0["idle"]?.boolValue == true && $0["instances"]?.arrayValue?.isEmpty == true
        }
    }

    private func leave(_ client: ControlClient) async {
        for number in 0..<apps {
            do { try await client.send(.delete, "/apps/\(name(number))") } catch {
                progress("the app \(name(number)) is left: \(error)")
            }
        }
    }
}
