import Certificates
import Foundation
import OrchestryModel
import PeerTransport

/// Peers and certificates in Prometheus' text format.
extension Node {
    func addTransport(to text: inout PrometheusText) {
        let node = ["node": id.rawValue]
        let all = transport.statistics
        text.counter(
            "orchestry_connections_refused_total", "Peer connections turned away or closed for what they sent", node,
            Double(all.connectionsRefused))
        text.gauge(
            "orchestry_connections_half_open", "Incoming peer connections that have not introduced themselves", node,
            Double(transport.halfOpenConnections))
        text.counter(
            "orchestry_late_replies_total", "Answers of peers that nobody waited for any more", node,
            Double(all.lateReplies))
        let connected = Set(transport.connectedPeers.map(\.id))
        for (peer, traffic) in transport.traffic.sorted(by: { $0.key < $1.key }) {
            add(traffic, of: peer, isConnected: connected.contains(peer), to: &text)
        }
        guard let status = certificates?.status else { return }
        text.counter(
            "orchestry_certificates_replaced_total", "Certificates taken up without a restart", node,
            Double(status.replaced))
        text.counter(
            "orchestry_certificates_refused_total", "Certificate files that were refused", node, Double(status.refused))
        guard let certificate = status.certificate else { return }
        text.gauge(
            "orchestry_certificate_end_seconds", "When this node's certificate ends, seconds since 1970", node,
            certificate.notAfter.timeIntervalSince1970)
        text.gauge(
            "orchestry_authority_end_seconds", "When the first trusted authority ends, seconds since 1970", node,
            certificate.authoritiesEnd.timeIntervalSince1970)
    }

    private func add(_ traffic: PeerTraffic, of peer: NodeID, isConnected: Bool, to text: inout PrometheusText) {
        let labels = ["node": id.rawValue, "peer": peer.rawValue]
        func both(_ name: String, _ help: String, sent: UInt64, received: UInt64) {
            for (direction, value) in [("received", received), ("sent", sent)] {
                text.counter(
                    name, help, labels.merging(["direction": direction]) { first, _ in first }, Double(value))
            }
        }
        text.gauge(
            "orchestry_peer_connected", "1 while both connections to the peer stand", labels, isConnected ? 1 : 0)
        both(
            "orchestry_peer_frames_total", "Frames to and from the peer", sent: traffic.framesSent,
            received: traffic.framesReceived)
        both(
            "orchestry_peer_bytes_total", "Bytes of frames to the peer, and from it", sent: traffic.bytesSent,
            received: traffic.bytesReceived)
        for (name, help, value) in [
            ("connections_total", "Times the peer became connected", traffic.connections),
            ("renewals_total", "Connections to the peer replaced without a gap", traffic.renewals),
            ("sample_batches_dropped_total", "Sample batches for the peer that gave way", traffic.sampleBatchesDropped),
            ("messages_refused_total", "Messages for the peer there was no room for", traffic.messagesRefused),
            ("requests_refused_total", "Requests of the peer refused: too many open", traffic.requestsRefused),
            ("flood_dropped_total", "Messages of the peer ignored: too fast", traffic.floodDropped),
        ] as [(String, String, UInt64)] {
            text.counter("orchestry_peer_\(name)", help, labels, Double(value))
        }
        if let trip = traffic.roundTrip {
            text.gauge(
                "orchestry_peer_round_trip_seconds", "Latest round trip of a Ping on control", labels, trip.inSeconds)
        }
    }
}
