using System.Net;
using System.Net.Sockets;
using KvCache.Silo.Accounts;
using KvCache.Silo.Hosting;
using KvCache.UnitTests.Support;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What a log is spared.</summary>
public sealed class BoundedLogTests : IDisposable
{
    private readonly Lines _lines = new();
    private readonly ManualTime _time = new();
    private readonly BoundedLog _log;

    public BoundedLogTests() => _log = new BoundedLog(_lines, _time);

    public void Dispose() => _log.Dispose();

    [Fact]
    public void A_repeated_warning_is_told_once_and_then_counted_once_a_minute()
    {
        var logger = _log.CreateLogger("KvCache.Silo.Cluster.PeerLink");

        for (var i = 0; i < 1000; i++)
            logger.Log(LogLevel.Warning, new EventId(7), "A silo cannot be followed", null, (text, _) => text);

        Assert.Equal(["Warning A silo cannot be followed"], _lines.All);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal("Warning 999 more of the kind in the last minute; the latest: A silo cannot be followed", _lines.All[^1]);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(2, _lines.All.Count);
    }

    [Fact]
    public void Lines_that_differ_are_bounded_too_and_those_of_other_places_are_told()
    {
        var logger = _log.CreateLogger("Orleans.Runtime.Messaging.ConnectionManager");

        for (var i = 0; i < 1000; i++)
            logger.Log(LogLevel.Error, new EventId(1), $"retry after {i} ms", null, (text, _) => text);
        logger.Log(LogLevel.Error, new EventId(2), "something else", null, (text, _) => text);

        Assert.InRange(_lines.All.Count, 2, 5);
        Assert.Equal("Error something else", _lines.All[^1]);
    }

    [Fact]
    public void An_exception_of_another_part_is_one_line_and_the_loss_of_a_neighbour_is_no_error()
    {
        var logger = _log.CreateLogger("Orleans.Runtime.GrainDirectory.ClientDirectory");
        var lost = new OrleansException("Exception while sending\n   at a stack", new SocketException((int)SocketError.ConnectionRefused));

        logger.Log(LogLevel.Error, new EventId(1), "publishing failed", lost, (text, _) => text);
        logger.Log(LogLevel.Error, new EventId(2), "a defect", new InvalidOperationException("nobody knows why"), (text, _) => text);

        Assert.Equal("Warning publishing failed (SocketException: Connection refused)", _lines.All[0]);
        Assert.Equal("Error a defect (InvalidOperationException: nobody knows why)", _lines.All[1]);
    }

    [Fact]
    public void A_warning_has_no_stack_trace_wherever_it_comes_from()
    {
        // What Orleans says when another silo's method has thrown.
        const string Quoted = "Exception of type 'X' was thrown.\n   at KvCache.Silo.Cluster.SiloAgent.PinAsync(BlockKey key)\n"
            + "--- End of stack trace from previous location ---\n   at Orleans.Runtime.GrainReferenceRuntime.InvokeAsync()";
        var ours = _log.CreateLogger("KvCache.Silo.Cluster.ClusterBlocks");
        var others = _log.CreateLogger("Orleans.Runtime.Catalog");

        ours.Log(LogLevel.Warning, new EventId(1), $"A silo did not answer: {Quoted}", null, (text, _) => text);
        others.Log(LogLevel.Warning, new EventId(1), $"A call failed: {Quoted}", null, (text, _) => text);
        others.Log(LogLevel.Warning, new EventId(2), "A call failed", new OrleansException(Quoted), (text, _) => text);
        ours.Log(LogLevel.Warning, new EventId(2), "A block could not be stored", new IOException(Quoted), (text, _) => text);

        Assert.Equal("Warning A silo did not answer: Exception of type 'X' was thrown.", _lines.All[0]);
        Assert.Equal("Warning A call failed: Exception of type 'X' was thrown.", _lines.All[1]);
        Assert.Equal("Warning A call failed (OrleansException: Exception of type 'X' was thrown.)", _lines.All[2]);
        Assert.Equal("Warning A block could not be stored (IOException: Exception of type 'X' was thrown.)", _lines.All[3]);
    }

    [Fact]
    public void What_an_administrator_did_and_what_is_no_warning_is_told_each_time()
    {
        using var loggers = new LoggerFactory([_log]);
        var audit = new AuditLog(loggers, new WrongProofs(_time));
        var other = _log.CreateLogger("KvCache.Silo.Cluster.ClusterWatch");

        for (var i = 0; i < 20; i++)
        {
            audit.Changed("Deletion", "acme", "all", IPAddress.Loopback);
            other.Log(LogLevel.Information, new EventId(1), "A silo has left", null, (text, _) => text);
        }

        Assert.Equal(40, _lines.All.Count);
    }

    [Fact]
    public void Lines_that_strangers_cause_are_bounded_whatever_their_level_is()
    {
        using var loggers = new LoggerFactory([_log]);
        var audit = new AuditLog(loggers, new WrongProofs(_time));
        var other = _log.CreateLogger("KvCache.Silo.Data.Session");

        for (var i = 0; i < 1000; i++)
        {
            audit.Refused("data plane", IPAddress.Parse($"127.0.{i % 250}.1"), $"tenant {i}", TimeSpan.Zero);
            other.Log(
                LogLevel.Information, new EventId(1, BoundedLog.Strangers + "Ended"), $"Connection {i} is ended", null, (text, _) => text);
        }

        Assert.Equal(20, _lines.All.Count);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(22, _lines.All.Count);
        Assert.All(_lines.All[^2..], line => Assert.Contains("990 more of the kind in the last minute", line, StringComparison.Ordinal));
    }

    private sealed class Lines : ILoggerProvider, ILogger
    {
        public List<string> All { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Add($"{logLevel} {formatter(state, exception)}{exception}"); // as the console does

        public void Dispose()
        {
        }
    }
}
