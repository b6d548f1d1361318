import ArgumentParser
import Certificates
import Foundation

struct CertsRotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Replace certificates of a running cluster.",
        discussion: """
            Of nodes: orchestry certs rotate NODE… (or --all) makes new keys and certificates; copy them to the nodes, \
            which take them up within seconds (SIGHUP: at once), without a restart and without a change of leader.

            Of the authority, in three steps, each of which says what to do next:
              1. orchestry certs rotate --ca             makes a new authority; ca.pem trusts the old and the new
              2. orchestry certs rotate --ca --reissue   the new authority signs new certificates for all nodes
              3. orchestry certs rotate --ca --drop-old  ca.pem trusts the new authority only
            After each step copy the files to every node and see them taken up before the next: orchestry events shows \
            certificate_replaced for each node, with the fingerprints of the authorities it trusts. From step 3 on, \
            whoever has a certificate of the old authority only is refused, and disconnected within 30 seconds.
            """)

    @Argument(help: "The nodes whose certificates are made anew.") var nodes: [String] = []
    @Flag(help: "All nodes that have a certificate in the folder.") var all = false
    @Flag(name: .customLong("ca"), help: "The authority instead of nodes: step 1, unless another is asked for.")
    var authority = false
    @Flag(help: "With --ca: step 2.") var reissue = false
    @Flag(help: "With --ca: step 3.") var dropOld = false
    @Option(help: "With --ca: what people see as the new authority's name; default: with the date.") var name: String?
    @Option(help: "How long what is made is valid; default 365 for nodes, 3650 for an authority.") var days: Int?
    @OptionGroup var options: CertificateFolderOptions

    func validate() throws {
        if let days { try checkDays(days) }
        func refuse(_ text: String) -> any Error { ArgumentParser.ValidationError(text) }
        if let name, !(1...64).contains(name.count) { throw refuse("--name must have 1 to 64 characters") }
        if authority {
            guard nodes.isEmpty, !all else { throw refuse("--ca is about the authority: give no nodes with it") }
            guard !(reissue && dropOld) else { throw refuse("--reissue and --drop-old are two steps: one at a time") }
        } else {
            guard !reissue, !dropOld, name == nil else { throw refuse("--reissue, --drop-old and --name need --ca") }
            guard all != !nodes.isEmpty else { throw refuse("name the nodes, or say --all") }
        }
    }

    func run() throws {
        switch (authority, reissue, dropOld) {
        case (false, _, _): try rotateNodes()
        case (true, true, _): try switchAuthority()
        case (true, _, true): try dropAuthority()
        case (true, false, false): try beginAuthority()
        }
    }

    private var folder: CertificateFolder { options.folder }

    private func rotateNodes() throws {
        let folder = folder
        let named = nodes
        let chosen = all ? try explained { () throws(CertificateError) in try folder.nodes } : named
        guard !chosen.isEmpty else {
            throw CommandFailure.local("there are no nodes' certificates in \(folder.path): see orchestry certs issue")
        }
        for node in chosen {
            try explained { () throws(CertificateError) in
                try folder.rotate(node: node, days: days ?? CertificateAuthority.nodeDays)
            }
            print("Made \(folder.certificatePath(node: node)) and \(folder.keyPath(node: node)).")
        }
        print(
            """
            Next: copy each node's two files into place, the key readable by its owner only. Nodes take them up within \
            seconds (`kill -HUP` of orchestryd: at once); `orchestry events` then shows certificate_replaced.
            """)
    }

    private func beginAuthority() throws {
        let folder = folder
        switch try explained({ () throws(CertificateError) in try folder.authorityRotation }) {
        case .none: break
        case .begun:
            throw CommandFailure.local(
                "a new authority has been made already. Once every node trusts it: \(next("--reissue"))")
        case .switched:
            throw CommandFailure.local(
                "the new authority signs already. Once every node has its new certificate: \(next("--drop-old"))")
        }
        let today = Date().formatted(.iso8601.year().month().day())
        try explained { () throws(CertificateError) in
            try folder.beginAuthority(
                name: name ?? "Orchestry cluster authority \(today)", days: days ?? CertificateAuthority.authorityDays)
        }
        print(
            """
            Step 1 of 3: made a new authority. \(folder.authorityCertificatePath) trusts the old and the new one; the \
            old one still signs.
            Next: copy \(folder.authorityCertificatePath) to every node, see certificate_replaced of every node in \
            `orchestry events`, and then: \(next("--reissue"))
            """)
    }

    private func switchAuthority() throws {
        let folder = folder
        switch try explained({ () throws(CertificateError) in try folder.authorityRotation }) {
        case .begun: break
        case .none: throw CommandFailure.local("there is no new authority yet. First: \(next(""))")
        case .switched:
            throw CommandFailure.local(
                "the new authority signs already. Once every node has its new certificate: \(next("--drop-old"))")
        }
        let nodes = try explained { () throws(CertificateError) in
            try folder.switchAuthority(days: days ?? CertificateAuthority.nodeDays)
        }
        print(
            """
            Step 2 of 3: the new authority signs. Made new keys and certificates for \
            \(nodes.isEmpty ? "no nodes" : nodes.joined(separator: ", ")).
            Next: copy each node's .pem and .key into place, see certificate_replaced of every node in `orchestry \
            events`, and then: \(next("--drop-old"))
            """)
    }

    private func dropAuthority() throws {
        let folder = folder
        switch try explained({ () throws(CertificateError) in try folder.authorityRotation }) {
        case .switched: break
        case .none:
            throw CommandFailure.local("\(folder.authorityCertificatePath) trusts one authority: nothing to drop")
        case .begun:
            throw CommandFailure.local("the new authority does not sign yet. First: \(next("--reissue"))")
        }
        try explained { () throws(CertificateError) in try folder.dropAuthority() }
        print(
            """
            Step 3 of 3: \(folder.authorityCertificatePath) trusts the new authority only.
            Next: copy it to every node. Connections authenticated by the old authority end within 30 seconds.
            """)
    }

    private func next(_ step: String) -> String {
        "orchestry certs rotate --ca \(step)\(step.isEmpty ? "" : " ")--dir \(options.dir)"
    }
}
