import ArgumentParser
import Foundation
import OrchestryModel

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this host and the cluster, and say what to do about what is wrong.",
        discussion: """
            The host: container engine, nginx and its Lua module, control groups, ports, disk, clock, and with --certs how \
            long certificates hold. The cluster: each node at its own address, one leader, fresh heartbeats, engines, \
            PostgreSQL, versions, clocks, apps that lack instances. Nothing is changed.
              orchestry doctor --host --certs /etc/orchestry    before a node is set up
              orchestry doctor --cluster -o json
            Exit codes: 0 no errors (there may be warnings), 1 errors.
            """)
    @Flag(help: "Only this host.") var host = false
    @Flag(help: "Only the cluster.") var cluster = false
    @Option(help: ArgumentHelp("Where a node keeps its data.", valueName: "folder")) var data = "/var/lib/orchestry"
    @Option(help: ArgumentHelp("Ports that must be free, separated by commas.", valueName: "ports"))
    var ports = "7100,8000,8080"
    @Option(help: ArgumentHelp("A certificate (PEM), or a folder of them.", valueName: "path")) var certs: [String] = []
    @OptionGroup var options: GlobalOptions

    func validate() throws { _ = try portNumbers() }

    private func portNumbers() throws -> [Int] {
        try ports.split(separator: ",").map { text in
            guard let port = Int(text), (1...65_535).contains(port) else {
                throw ArgumentParser.ValidationError("--ports must be numbers from 1 to 65535, separated by commas")
            }
            return port
        }
    }

    func run() async throws {
        let both = host == cluster
        var findings: [Finding] = []
        if host || both {
            findings += await HostCheckup(dataFolder: data, ports: try portNumbers(), certificates: certs).findings()
        }
        if cluster || both {
            findings += try await options.withClient { try await Self.clusterFindings($0, isAsked: cluster) }
        }
        let errors = findings.count { $0.level == .error }
        let warnings = findings.count { $0.level == .warning }
        let answer: JSONValue = [
            "findings": .array(findings.map(\.json)), "errors": JSONValue(errors), "warnings": JSONValue(warnings),
        ]
        Output.show(answer, as: options.output) { _ in Self.text(findings) }
        if errors > 0 { throw ExitCode(1) }
    }

    static func text(_ findings: [Finding]) -> String {
        let table = Output.table(
            ["STATE", "WHERE", "CHECK", "FOUND"],
            findings.map { [$0.level.rawValue, $0.area, $0.check, $0.found] })
        let advice = findings.compactMap { finding in
            finding.advice.map { "\(finding.check): \($0)" }
        }
        return advice.isEmpty ? table : table + "\n\nWhat to do:\n" + advice.map { "  " + $0 }.joined(separator: "\n")
    }

    // MARK: Asking

    /// - Parameter isAsked: whether a cluster that can't be reached is an error, or only none here yet.
    private static func clusterFindings(_ client: APIClient, isAsked: Bool) async throws -> [Finding] {
        let status: JSONValue
        do {
            status = try await client.get("/cluster/status")
        } catch let failure as CommandFailure {
            return [
                Finding(
                    "cluster", "servers", isAsked ? .error : .warning,
                    "\(client.servers.joined(separator: ", ")): none answers",
                    failure.line)
            ]
        }
        var checkup = ClusterCheckup(status: status, answers: [:], now: Date().timeIntervalSince1970)
        for node in status["nodes"]?.arrayValue ?? [] {
            guard let name = node["node_id"]?.stringValue, let address = node["api_url"]?.stringValue else { continue }
            checkup.answers[name] = await client.ask(address)
        }
        func asked(_ name: String) async throws -> JSONValue {
            do {
                return try await client.get("/\(name)")
            } catch let failure as CommandFailure {
                checkup.problems[name] = failure.line
                return .null
            }
        }
        checkup.nodes = try await asked("nodes")
        checkup.apps = try await asked("apps")
        do {
            _ = try await client.get("/events", query: [("limit", "1")])
        } catch let failure as CommandFailure {
            if case .refused(401...403, _) = failure {
                checkup.problems["events"] = failure.line
            } else {
                checkup.storeProblem = failure.line
            }
        }
        return checkup.findings()
    }
}

extension APIClient {
    /// A node's own view of the cluster, asked once; of a node that may not see the token only what it tells everybody.
    fileprivate func ask(_ server: String) async -> ClusterCheckup.Answer {
        let begun = Date().timeIntervalSince1970
        do {
            let single = try asking(server)
            let health: JSONValue
            do {
                health = try await single.health(isTrusted: isTrusted(server))
            } catch {
                await single.shutdown()
                throw error
            }
            await single.shutdown()
            let middle = (begun + Date().timeIntervalSince1970) / 2
            return ClusterCheckup.Answer(
                health: health, clockOffset: (health["timestamp"]?.doubleValue ?? middle) - middle)
        } catch let failure as CommandFailure {
            return ClusterCheckup.Answer(health: nil, problem: Self.reason(failure))
        } catch {
            return ClusterCheckup.Answer(health: nil, problem: "\(error)")
        }
    }

    private func health(isTrusted: Bool) async throws -> JSONValue {
        guard isTrusted else { return try await get("/health") }
        do {
            return try await get("/cluster/health")
        } catch CommandFailure.refused(let status, _) where status == 401 || status == 403 {
            return try await get("/health")
        }
    }

    private static func reason(_ failure: CommandFailure) -> String {
        if case .unreachable(_, let reasons) = failure { return reasons.first ?? "no answer" }
        return failure.message.split(separator: "\n").first.map(String.init) ?? ""
    }
}
