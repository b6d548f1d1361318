import ArgumentParser
import Certificates
import Foundation
import OrchestryModel

struct Certs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs",
        abstract: "Make the certificates by which nodes know each other.",
        discussion: """
            Once: orchestry certs init. For each node: orchestry certs issue NODE. A node gets ca.pem, NODE.pem and \
            NODE.key; ca.key stays with the operator. Nodes take up new files without a restart: see orchestry certs \
            rotate.
            """,
        subcommands: [CertsInit.self, CertsIssue.self, CertsRotate.self, CertsShow.self])
}

struct CertificateFolderOptions: ParsableArguments {
    @Option(name: .long, help: "The folder with the authority and the certificates.") var dir = "certs"
    var folder: CertificateFolder { CertificateFolder(path: dir) }
}

struct CertsInit: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "init", abstract: "Make the cluster's authority.")
    @Option(help: "What people see as its name.") var name = "Orchestry cluster authority"
    @Option(help: "How long it is valid, 1 to 36500 days.") var days = CertificateAuthority.authorityDays
    @OptionGroup var options: CertificateFolderOptions

    func validate() throws {
        try checkDays(days)
        guard (1...64).contains(name.count) else {
            throw ArgumentParser.ValidationError("--name must have 1 to 64 characters")
        }
    }

    func run() throws {
        try explained { () throws(CertificateError) in try options.folder.initialize(name: name, days: days) }
        print(
            """
            Made \(options.folder.authorityCertificatePath) and \(options.folder.authorityKeyPath).
            Keep the key secret: whoever has it can join the cluster.
            Next, for each node: orchestry certs issue NODE --dir \(options.dir)
            """)
    }
}

struct CertsIssue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Make, or renew, the certificates of nodes.")
    @Argument(help: "The nodes' ids, as in their configuration.") var nodes: [String]
    @Option(
        name: .customLong("address"), help: "An IP address clients reach the node by; may be repeated, with one node.")
    var addresses: [String] = []
    @Option(help: "How long it is valid, 1 to 36500 days.") var days = CertificateAuthority.nodeDays
    @OptionGroup var options: CertificateFolderOptions

    func validate() throws {
        try checkDays(days)
        guard addresses.isEmpty || nodes.count == 1 else {
            throw ArgumentParser.ValidationError(
                "--address belongs to one node: issue nodes with addresses one at a time")
        }
    }

    func run() throws {
        let folder = options.folder
        for node in nodes {
            try explained { () throws(CertificateError) in
                try folder.issue(node: node, addresses: addresses, days: days)
            }
            print(
                """
                Made \(folder.certificatePath(node: node)) and \(folder.keyPath(node: node)). Copy both and \
                \(folder.authorityCertificatePath) to node \(node).
                """)
        }
    }
}

struct CertsShow: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "show", abstract: "Show whom a certificate is for.")
    @Argument(help: "A certificate file (PEM).") var file: String
    @Option(name: .shortAndLong, help: "How to print the answer: table, json or yaml.")
    var output: OutputFormat = .table

    func run() throws {
        guard let pem = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw CommandFailure.usage("\(file) cannot be read")
        }
        let summaries = try explained { () throws(CertificateError) in try CertificateSummary.all(pem: pem) }
        let answers = summaries.map(Self.answer(of:))
        // A file with several (an authority that is being replaced, a chain) is a list of what one would be.
        Output.show(answers.count == 1 ? answers[0] : .array(answers), as: output) { _ in
            zip(summaries, answers).map { summary, answer in
                Output.facts([
                    ("Subject", summary.subject), ("Issuer", summary.issuer),
                    ("Names", summary.dnsNames.isEmpty ? "-" : summary.dnsNames.joined(separator: ", ")),
                    ("Addresses", summary.addresses.isEmpty ? "-" : summary.addresses.joined(separator: ", ")),
                    ("Serial", summary.serial), ("SHA-256", summary.fingerprint),
                    ("Valid", "\(Output.time(answer["not_before"])) to \(Output.time(answer["not_after"]))"),
                    ("Authority", Output.cell(answer["authority"])),
                ])
            }.joined(separator: "\n")
        }
    }

    private static func answer(of summary: CertificateSummary) -> JSONValue {
        [
            "subject": .string(summary.subject), "issuer": .string(summary.issuer),
            "dns_names": .array(summary.dnsNames.map { .string($0) }),
            "addresses": .array(summary.addresses.map { .string($0) }), "serial": .string(summary.serial),
            "sha256": .string(summary.fingerprint), "not_before": JSONValue(summary.notBefore.timeIntervalSince1970),
            "not_after": JSONValue(summary.notAfter.timeIntervalSince1970), "authority": .bool(summary.isAuthority),
        ]
    }
}

func checkDays(_ days: Int) throws {
    guard (1...36_500).contains(days) else { throw ArgumentParser.ValidationError("--days must be 1 to 36500") }
}

/// Names and addresses that are wrong are wrong usage; the rest is about files.
func explained<Value>(_ body: () throws(CertificateError) -> Value) throws -> Value {
    do {
        return try body()
    } catch {
        switch error.code {
        case .invalidName, .invalidAddress: throw CommandFailure.usage(error.message)
        case .exists, .unreadable, .notAnAuthority, .unwritable, .mismatched, .expired, .untrusted:
            throw CommandFailure.local(error.message)
        }
    }
}
