import HTTPTypes
import HummingbirdCore
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import NIOWebSocket

/// Turns a connection into a WebSocket when a route answers 101, at any request of it.
///
/// The route stays an ordinary one: it gets the client's messages as pieces of the request's body, one message each, and what it
/// writes as pieces of the response's body goes out as messages. Back-pressure is what it is for bodies. A refused upgrade
/// closes the connection behind the answer, since NIO's decoder reads no further after a request for an upgrade.
final class WebSocketSwitch: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum Phase {
        case http
        /// The request asks for a WebSocket: its end is held back, since its body may be all that follows.
        case asked(end: HTTPRequestPart?)
        /// 101 is on its way into the socket's buffer, and what comes after it must not become HTTP.
        case switching(waiting: [(part: HTTPResponsePart, promise: EventLoopPromise<Void>?)])
        case open
        case refused
    }
    private var phase = Phase.http

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (phase, unwrapInboundIn(data)) {
        case (.http, .head(let head)) where Self.asksForUpgrade(head):
            phase = head.headerFields[.upgrade]?.lowercased() == "websocket" ? .asked(end: nil) : .refused
        case (.asked, .end(let trailers)):
            phase = .asked(end: .end(trailers))
            return
        default: break
        }
        context.fireChannelRead(data)
    }

    private static func asksForUpgrade(_ head: HTTPRequest) -> Bool {
        head.headerFields[.upgrade] != nil
            && head.headerFields[.connection]?.lowercased().contains("upgrade") == true
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        switch phase {
        case .http, .open: context.write(data, promise: promise)
        case .asked(let end):
            guard case .head(let head) = part else { return context.write(data, promise: promise) }
            if head.status == .switchingProtocols {
                phase = .switching(waiting: [])
                context.write(data, promise: promise)
                change(context)
            } else {
                phase = .refused
                write(context: context, data: data, promise: promise)
                if let end { context.fireChannelRead(wrapInboundOut(end)) }
            }
        case .switching(let waiting): phase = .switching(waiting: waiting + [(part, promise)])
        case .refused:
            switch part {
            case .head(var head):
                head.headerFields[.connection] = "close"
                context.write(wrapOutboundOut(.head(head)), promise: promise)
            case .body: context.write(data, promise: promise)
            case .end:
                context.writeAndFlush(data, promise: promise)
                context.close(promise: nil)
            }
        }
    }

    func flush(context: ChannelHandlerContext) {
        // The client must not answer 101 before this end understands it.
        if case .switching = phase { return }
        context.flush()
    }

    private func change(_ context: ChannelHandlerContext) {
        do {
            let pipeline = context.pipeline.syncOperations
            let removals = try [
                pipeline.removeHandler(pipeline.handler(type: HTTP1ToHTTPServerCodec.self)),
                pipeline.removeHandler(pipeline.handler(type: HTTPResponseEncoder.self)),
                pipeline.removeHandler(pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)),
                // It would call a quiet session idle; the bridge sees to that.
                pipeline.removeHandler(pipeline.handler(type: HTTPConnectionStateHandler.self)),
            ]
            EventLoopFuture.andAllSucceed(removals, on: context.eventLoop).assumeIsolated().whenComplete {
                self.changed(context, $0)
            }
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    private func changed(_ context: ChannelHandlerContext, _ result: Result<Void, any Error>) {
        guard case .switching(let waiting) = phase else { return }
        do {
            try result.get()
            try context.pipeline.syncOperations.addHandlers(
                [
                    WebSocketFrameEncoder(),
                    ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: ExecMessage.mostBytes)),
                    NIOWebSocketFrameAggregator(
                        minNonFinalFragmentSize: 1, maxAccumulatedFrameCount: 1_024,
                        maxAccumulatedFrameSize: ExecMessage.mostBytes),
                    WebSocketBridge(),
                ], position: .before(self))
        } catch {
            context.fireErrorCaught(error)
            return context.close(promise: nil)
        }
        phase = .open
        for item in waiting { context.write(wrapOutboundOut(item.part), promise: item.promise) }
        context.flush()
    }
}

/// Messages as pieces of bodies; pings, and the closing handshake.
private final class WebSocketBridge: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = WebSocketFrame

    /// Keeps proxies in between from calling the connection idle.
    private static let pingEvery = TimeAmount.seconds(15)
    /// A client that is read from and sends nothing for so long, not even Pongs, is gone.
    private static let silence = TimeAmount.seconds(60)
    private static let farewell = TimeAmount.seconds(2)

    private var nextPing: Scheduled<Void>?
    private var lastRead = NIODeadline.now()
    /// Nothing comes while nothing is read.
    private var isReadWanted = false
    private var hasEnded = false
    private var isCloseSent = false

    func handlerAdded(context: ChannelHandlerContext) {
        nextPing = context.eventLoop.assumeIsolated().scheduleTask(in: Self.pingEvery) { [weak self] in
            guard let self, !self.isCloseSent else { return }
            if self.isReadWanted, NIODeadline.now() - self.lastRead > Self.silence {
                return context.close(promise: nil)
            }
            self.send(.ping, ByteBuffer(), context)
            self.handlerAdded(context: context)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { nextPing?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        nextPing?.cancel()
        context.fireChannelInactive()
    }

    func read(context: ChannelHandlerContext) {
        if !isReadWanted { lastRead = .now() }
        isReadWanted = true
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReadWanted = false
        context.fireChannelReadComplete()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastRead = .now()
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .binary:
            guard !hasEnded else { return }
            context.fireChannelRead(wrapInboundOut(.body(frame.unmaskedData)))
        case .ping: send(.pong, frame.unmaskedData, context)
        case .pong: break
        case .connectionClose:
            end(context)
            close(.normalClosure, context)
        default:
            end(context)
            close(.unacceptableData, context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(context)
        close(.protocolError, context)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .body(let bytes):
            let frame = WebSocketFrame(fin: true, opcode: .binary, data: bytes)
            context.write(wrapOutboundOut(frame), promise: promise)
        case .head: promise?.succeed()
        case .end:
            promise?.succeed()
            close(.normalClosure, context)
        }
    }

    private func send(_ opcode: WebSocketOpcode, _ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: bytes)), promise: nil)
    }

    private func end(_ context: ChannelHandlerContext) {
        guard !hasEnded else { return }
        hasEnded = true
        context.fireChannelRead(wrapInboundOut(.end(nil)))
    }

    /// Either side's close frame has been answered, or the client has had its time for that.
    private func close(_ code: WebSocketErrorCode, _ context: ChannelHandlerContext) {
        guard !isCloseSent else {
            // The client's answer to ours.
            return context.close(promise: nil)
        }
        isCloseSent = true
        var bytes = ByteBuffer()
        bytes.write(webSocketErrorCode: code)
        send(.connectionClose, bytes, context)
        if hasEnded { return context.close(promise: nil) }
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.farewell) { channel.close(promise: nil) }
    }
}
