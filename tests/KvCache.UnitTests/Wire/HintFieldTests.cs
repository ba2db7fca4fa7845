using KvCache.Binary;
using KvCache.Engine.Wire;
using Xunit;

namespace KvCache.UnitTests;

public sealed class HintFieldTests
{
    [Fact]
    public void A_hint_arrives_as_it_was_told()
    {
        foreach (var hint in new CacheHint[]
        {
            new() { End = AnswerEnd.ToolCall },
            new() { Priority = 0 },
            new() { Priority = 100, Kind = TokenKind.Document },
            new() { End = AnswerEnd.OneShot, Retention = TimeSpan.FromHours(1), Kind = TokenKind.SystemPrompt },
        })
            Assert.Equal(hint, HintField.Read(Fields(hint)));
    }

    [Fact]
    public void Nothing_said_is_no_field()
    {
        Assert.True(Fields(null).IsEmpty);
        Assert.True(Fields(new CacheHint()).IsEmpty);
        Assert.Null(HintField.Read([]));
    }

    [Fact]
    public void What_a_later_version_says_is_not_told_and_what_is_too_short_is_refused()
    {
        var fields = Fields(new CacheHint { End = AnswerEnd.ToolCall, Priority = 7, Kind = TokenKind.Document }).ToArray();
        (fields[8], fields[9], fields[10]) = (200, 101, 200);
        Assert.Equal(new CacheHint(), HintField.Read(fields));
        fields[4] = 4;
        fields.AsSpan(12).Clear();
        Assert.Throws<KvFormatException>(() => HintField.Read(fields));
    }

    [Fact]
    public void Priorities_and_retentions_have_bounds()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new CacheHint { Priority = 101 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new CacheHint { Priority = -1 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new CacheHint { Retention = TimeSpan.Zero });
        Assert.Equal(TimeSpan.FromMinutes(5), CacheHint.OfCacheControl().Retention);
        Assert.Equal(TimeSpan.FromHours(1), CacheHint.OfCacheControl("1h").Retention);
        Assert.Throws<ArgumentException>(() => CacheHint.OfCacheControl("2h"));
    }

    private static ReadOnlySpan<byte> Fields(CacheHint? hint)
    {
        var writer = new WireWriter(64);
        writer.Take(FrameHeader.Size);
        HintField.Add(writer, hint);
        WireFields.End(writer);
        return writer.Written[FrameHeader.Size..][..writer.FieldBytes];
    }
}
