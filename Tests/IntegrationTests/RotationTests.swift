import Certificates
import Foundation
import NIOSSL
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// Certificates of a running cluster, under a stream of writes.
@Suite(
    .serialized, .enabled(if: postgresExpected, "needs PostgreSQL: see configs/dev/test"), .timeLimit(.minutes(5)))
struct RotationTests {
    /// Nodes of these tests have files of their own, as nodes on other machines do.
    private func distribute(_ names: (Cluster.Member) -> [String], on cluster: Cluster) throws {
        for member in cluster.members { try copy(names(member), to: member, on: cluster) }
    }

    /// As an operator would: written beside and renamed.
    private func copy(_ names: [String], to member: Cluster.Member, on cluster: Cluster) throws {
        for name in names {
            let target = URL(fileURLWithPath: cluster.heldCertificates(of: member) + "/" + name)
            let data = try Data(contentsOf: URL(fileURLWithPath: cluster.certificates.path + "/" + name))
            try data.write(to: target, options: .atomic)
        }
    }

    private func ownFiles(_ member: Cluster.Member) -> [String] { ["\(member.id).pem", "\(member.id).key"] }

    private func replaced(_ member: Cluster.Member, on cluster: Cluster) async throws -> Double {
        try await cluster.metric("orchestry_certificates_replaced_total", of: member).values.first ?? 0
    }

    /// Waits until every node has taken up its files for the `count`th time, and has no connection older than that.
    private func waitForUse(_ count: Double, on cluster: Cluster) async throws {
        for member in cluster.members {
            try await eventuallyTrue("\(member.id) takes its files up, time \(count)", within: .seconds(30)) {
                try await replaced(member, on: cluster) >= count
            }
        }
    }

    /// The certificate a node shows to whoever connects.
    private func shown(by member: Cluster.Member, to tls: NIOSSLContext) async throws -> NIOSSLCertificate? {
        let peer = try await WirePeer(port: member.clusterPort, tls: tls)
        defer { peer.close() }
        _ = await eventually { peer.certificate != nil || peer.isClosed }
        return peer.certificate
    }

    @Test func `all nodes, then the authority in three steps: no write fails, nobody else leads`() async throws {
        var options = Cluster.Options.protocolOnly
        options.hasOwnCertificateFiles = true
        try await withCluster("rotate", options) { cluster in
            let before = try await cluster.leadership()
            let quiet = cluster.logLengths
            try await cluster.registerWeb()
            let certificates = cluster.certificates
            try certificates.issue(node: "outsider")
            let outsider = try WirePeer.tls(certificates, as: "outsider")
            let writer = Writer(cluster, through: cluster.members)
            async let writing: Void = writer.run()

            // Nodes, one after the other.
            for (index, member) in cluster.members.enumerated() {
                let old = try await shown(by: member, to: outsider)
                try certificates.rotate(node: member.id.rawValue)
                try copy(ownFiles(member), to: member, on: cluster)
                if index == 0 { try await cluster.hangUp(member.id) }
                let fresh = try NIOSSLCertificate.fromPEMFile(certificates.certificatePath(node: member.id.rawValue))[0]
                try await eventuallyTrue("\(member.id) shows its new certificate", within: .seconds(30)) {
                    try await shown(by: member, to: outsider) == fresh
                }
                #expect(old != fresh)
            }
            try await waitForUse(1, on: cluster)
            // The standing connections are replaced too: two with each of two peers.
            for member in cluster.members {
                try await eventuallyTrue("\(member.id) renews its connections", within: .seconds(30)) {
                    let renewals = try await cluster.metric("orchestry_peer_renewals_total", of: member)
                    return renewals.count == 2 && renewals.values.allSatisfy { $0 >= 2 }
                }
            }

            // The authority.
            try certificates.beginAuthority(name: "next")
            try distribute({ _ in ["ca.pem"] }, on: cluster)
            try await waitForUse(2, on: cluster)
            _ = try certificates.switchAuthority()
            try distribute(ownFiles, on: cluster)
            try await waitForUse(3, on: cluster)
            // Everyone must have a connection of the new authority before the old one is dropped.
            try await waitForRenewal(on: cluster)
            let stranger = try await WirePeer(
                port: cluster.members[0].clusterPort, from: "127.0.2.1", tls: outsider)
            let known = try await stranger.introduce("outsider", to: cluster.name, .control)
            #expect(known?.isAccepted == true, "both authorities are trusted: \(String(describing: known))")
            try certificates.dropAuthority()
            try distribute({ _ in ["ca.pem"] }, on: cluster)
            try await waitForUse(4, on: cluster)
            try await waitForRenewal(on: cluster)

            // Whom only the old authority knows is refused, and does not stay either.
            for member in cluster.members {
                let refused = try await WirePeer(port: member.clusterPort, from: "127.0.2.2", tls: outsider)
                // The handshake may fail before the Hello is on its way.
                let answer = try? await refused.introduce("outsider", to: cluster.name, .control)
                #expect(answer == nil, "\(member.id): \(String(describing: answer))")
            }
            #expect(await stranger.waitUntilClosed(within: .seconds(45)), "a connection of the old authority ends")
            await writer.stop()
            await writing
            let outcome = await writer.outcome
            print("rotation: \(outcome.done) writes, longest \(outcome.longest)")
            #expect(outcome.failed.isEmpty, "\(outcome.failed)")
            #expect(outcome.done > 50)
            #expect(try await cluster.leadership() == before)
            for member in cluster.members {
                let log = cluster.log(of: member, from: quiet[member.id] ?? 0)
                #expect(log.split(separator: "\n").count { $0.contains("Certificates taken up") } == 4)
                let connections = try await cluster.metric("orchestry_peer_connections_total", of: member)
                let peers = connections.filter { !$0.key.contains("outsider") }
                #expect(peers.values.allSatisfy { $0 == 1 }, "nobody was disconnected: \(peers)")
            }
            try await eventuallyTrue("the events tell it") {
                let count = try cluster.postgres.query(
                    "SELECT count(*) FROM events WHERE event_type = 'certificate_replaced'", on: cluster.database)
                return count.filter(\.isNumber) == "12"
            }
        }
    }

    /// Waits until no connection is older than the certificates: the renewal counters stand still at the right number.
    private func waitForRenewal(on cluster: Cluster) async throws {
        var last: [[String: Double]] = []
        var since = ContinuousClock.now
        try await eventuallyTrue("renewals come to rest", within: .seconds(30)) {
            var now: [[String: Double]] = []
            for member in cluster.members {
                now.append(try await cluster.metric("orchestry_peer_renewals_total", of: member))
            }
            if now != last { (last, since) = (now, .now) }
            return ContinuousClock.now - since > .seconds(3)
        }
    }

    @Test func `files that don't fit are refused in one line, and the old certificate stays`() async throws {
        var options = Cluster.Options.protocolOnly
        options.hasOwnCertificateFiles = true
        try await withCluster("refused", options) { cluster in
            let before = try await cluster.leadership()
            let member = cluster.members[1]
            let certificates = cluster.certificates
            try certificates.issue(node: "outsider")
            let outsider = try WirePeer.tls(certificates, as: "outsider")
            let old = try await shown(by: member, to: outsider)
            let folder = cluster.heldCertificates(of: member)
            // A new certificate without its key; then nonsense; then somebody else's pair.
            try certificates.rotate(node: member.id.rawValue)
            try copy(["\(member.id).pem"], to: member, on: cluster)
            func refusals() -> [Substring] {
                cluster.log(of: member).split(separator: "\n").filter {
                    $0.contains("New certificate files are refused")
                }
            }
            try await eventuallyTrue("refused") { refusals().count == 1 }
            #expect(refusals().last?.contains("the key does not belong to the certificate") == true)
            try Data("nonsense".utf8).write(to: URL(fileURLWithPath: folder + "/ca.pem"), options: .atomic)
            try await eventuallyTrue("refused again") { refusals().count == 2 }
            #expect(refusals().last?.contains("holds no certificate") == true)
            try copy(["ca.pem"], to: member, on: cluster)
            for (source, target) in [("outsider.pem", "\(member.id).pem"), ("outsider.key", "\(member.id).key")] {
                let data = try Data(contentsOf: URL(fileURLWithPath: certificates.path + "/" + source))
                try data.write(to: URL(fileURLWithPath: folder + "/" + target), options: .atomic)
            }
            try await eventuallyTrue("refused a third time") {
                refusals().last?.contains("is for outsider, not for \(member.id)") == true
            }
            #expect(try await shown(by: member, to: outsider) == old)
            let metric = try await cluster.metric("orchestry_certificates_refused_total", of: member)
            #expect(metric.values.first ?? 0 >= 3)
            // SIGHUP says so again, and the right files are taken up at last.
            let count = refusals().count
            try await cluster.hangUp(member.id)
            try await eventuallyTrue("SIGHUP is answered") { refusals().count == count + 1 }
            try copy(ownFiles(member), to: member, on: cluster)
            try await eventuallyTrue("taken up") { try await replaced(member, on: cluster) == 1 }
            #expect(try await shown(by: member, to: outsider) != old)
            #expect(try await cluster.leadership() == before)
            try await eventuallyTrue("the events tell it") {
                let events = try await cluster.get("/events?limit=200", from: cluster.members[0]).json["events"]
                let kinds = (events?.arrayValue ?? []).compactMap { $0["event_type"]?.stringValue }
                return kinds.contains("certificate_refused") && kinds.contains("certificate_replaced")
            }
        }
    }

    @Test func `a certificate that ends soon is spoken of, with what to run`() async throws {
        var options = Cluster.Options.protocolOnly
        options.certificateDays = ["controller-1": 20, "controller-2": 5]
        try await withCluster("expiry", options) { cluster in
            _ = try await cluster.leadership()
            for (member, level) in [(cluster.members[0], "warning"), (cluster.members[1], "error")] {
                let line = cluster.log(of: member).split(separator: "\n").first { $0.contains("ends soon") }
                let text = try #require(line, "\(member.id) says nothing")
                #expect(
                    text.contains("\"level\":\"\(level)\"") && text.contains("certs rotate \(member.id)"), "\(text)")
            }
            #expect(!cluster.log(of: cluster.members[2]).contains("ends soon"))
            let end = try await cluster.metric("orchestry_certificate_end_seconds", of: cluster.members[1]).values.first
            let days = ((end ?? 0) - Date().timeIntervalSince1970) / 86_400
            #expect((4.9...5.1).contains(days), "\(days)")
        }
    }
}
