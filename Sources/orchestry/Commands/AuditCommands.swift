import AccessControl
import ArgumentParser
import OrchestryModel

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Who asked for which change, what came of it, and whether that record was touched.",
        subcommands: [AuditList.self, AuditVerify.self], defaultSubcommand: AuditList.self)
}

struct AuditList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the latest entries of the audit trail, newest first.")
    @Option(help: "Only about this app.") var app: String?
    @Option(help: "How many, up to 1000.") var limit = 50
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        var query = [("limit", String(limit))]
        if let app { query.append(("app", app)) }
        try await options.show {
            try await $0.get("/audit", query: query)
        } table: { answer in
            Output.table(
                ["NO", "TIME", "ACTOR", "FROM", "NODE", "OPERATION", "APP", "OUTCOME", "WHAT"],
                (answer["entries"]?.arrayValue ?? []).map { entry in
                    let record = entry["record"] ?? .null
                    let time = record["time"]?.doubleValue.map { JSONValue.double($0 / 1_000) }
                    return [
                        Output.cell(entry["sequence"]), Output.time(time),
                    ] + ["actor", "address", "node", "operation", "app"].map { Output.cell(record[$0]) } + [
                        Self.outcome(record), Self.what(record),
                    ]
                })
        }
    }

    private static func outcome(_ record: JSONValue) -> String {
        let word = Output.cell(record["outcome"])
        return record["outcome"] == "refused" ? "\(word) (\(Output.cell(record["status"])))" : word
    }

    private static func what(_ record: JSONValue) -> String {
        var parts: [String] = []
        if let repeats = record["repeats"]?.intValue { parts.append("\(repeats + 1) times") }
        if let reason = record["reason"]?.stringValue { parts.append(reason) }
        for change in (record["changes"]?.arrayValue ?? []).prefix(5) {
            parts.append(
                "\(Output.cell(change["field"])): \(Output.cell(change["old"])) → \(Output.cell(change["new"]))")
        }
        let more = (record["changes"]?.arrayValue?.count ?? 0) - 5
        if more > 0 { parts.append("\(more) more (-o json)") }
        if parts.isEmpty, let arguments = record["arguments"]?.objectValue {
            parts = arguments.filter { $0.value != .null }.sorted { $0.key < $1.key }.map {
                "\($0.key) \(Output.cell($0.value))"
            }
        }
        return parts.isEmpty ? "-" : parts.joined(separator: ", ")
    }
}

struct AuditVerify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Recompute the whole chain here; exit 1 when an entry was changed, removed or inserted.",
        discussion: """
            Prints the head, NUMBER:HASH. Keep it where those who may write the database can't: given with --head later, it \
            shows that nothing up to it was made anew.
            """)
    @Option(help: ArgumentHelp("A head that an earlier run printed.", valueName: "number:hash")) var head: String?
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        var expected: AuditHead?
        if let head {
            guard let read = AuditHead(head) else {
                throw CommandFailure.usage("--head must be NUMBER:HASH, as printed")
            }
            expected = read
        }
        let given = expected
        try await options.withClient { client in
            var chain = AuditChain(expected: given)
            var recorded = AuditHead.origin
            while true {
                let page = try await client.get(
                    "/audit", query: [("after", String(chain.head.sequence)), ("limit", "1000"), ("raw", "true")])
                let entries = (page["entries"]?.arrayValue ?? []).map { entry in
                    AuditEntry(
                        sequence: Int64(entry["sequence"]?.intValue ?? 0), record: entry["text"]?.stringValue ?? "",
                        hash: entry["hash"]?.stringValue ?? "")
                }
                recorded = AuditHead(
                    sequence: Int64(page["head"]?["sequence"]?.intValue ?? 0),
                    hash: page["head"]?["hash"]?.stringValue ?? "")
                chain.add(entries)
                if entries.count < 1_000 { break }
            }
            chain.end(recorded: recorded)
            let result: JSONValue = [
                "entries": .int(chain.head.sequence), "head": .string(chain.head.description),
                "intact": .bool(chain.findings.isEmpty),
                "findings": .array(chain.findings.map { .string($0.description) }),
            ]
            Output.show(result, as: options.output) { _ in
                chain.findings.isEmpty
                    ? "\(chain.head.sequence) entries, the chain is whole.\nHead: \(chain.head)"
                    : chain.findings.map(\.description).joined(separator: "\n")
            }
            guard chain.findings.isEmpty else {
                throw CommandFailure.local("the audit trail was touched: \(chain.findings.count) places, see above")
            }
        }
    }
}
