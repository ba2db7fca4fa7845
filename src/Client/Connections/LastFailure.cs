using System.Diagnostics;

namespace KvCache.Client.Connections;

/// <summary>The latest failure in words, so that somebody without a log learns why a call was a miss. Thread-safe.</summary>
/// <param name="all">Hears of it too; null for nobody.</param>
internal sealed class LastFailure(LastFailure? all = null)
{
    private volatile Note? _note;

    /// <summary>The words; null when there was none.</summary>
    public string? Text => _note?.Text;

    /// <summary>Remembers why a call failed, unless its caller had lost interest.</summary>
    public void Tell(SiloCall call, string text)
    {
        if (!call.CancelledByCaller)
            Tell(text);
    }

    /// <summary>Remembers a failure.</summary>
    public void Tell(string text)
    {
        _note = new Note(text, Stopwatch.GetTimestamp());
        all?.Tell(text);
    }

    /// <summary>What belongs into the result of a call.</summary>
    /// <param name="reason">How the call ended.</param>
    /// <param name="began">When it began, as a timestamp of <see cref="Stopwatch"/>.</param>
    public string? Of(MissReason reason, long began) => reason switch
    {
        MissReason.None or MissReason.Absent => null,

        // A breaker that is open fails calls for what went wrong before them.
        MissReason.Refused or MissReason.Unavailable => Text,
        MissReason.Corrupt => "a block has arrived with other bytes than its checksums say",
        _ => _note is { } note && note.When >= began ? note.Text : "there was no answer in time",
    };

    private sealed record Note(string Text, long When);
}
