@preconcurrency import Dispatch

/// Calls a closure again and again on a queue, until it is released.
final class Ticker {
    private let timer: any DispatchSourceTimer

    init(queue: DispatchQueue, milliseconds: Int, _ body: @escaping @Sendable () -> Void) {
        timer = DispatchSource.makeTimerSource(queue: queue)
        let interval = DispatchTimeInterval.milliseconds(milliseconds)
        timer.schedule(deadline: .now() + interval, repeating: interval, leeway: .milliseconds(milliseconds / 5))
        timer.setEventHandler(handler: body)
        timer.resume()
    }

    deinit { timer.cancel() }
}
