import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The job in Kafka Streams: bootstrap, topic, application id, findings topic, number of messages, "parse" or "screen",
 * folder for its state.
 *
 * "parse" decodes the whole of every message with Jackson into the two names; "screen" only those that hold the
 * operation's name as bytes.
 */
public final class Detect {
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Names(@JsonProperty("eventSource") String source, @JsonProperty("eventName") String name) {}

    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final ObjectReader NAMES = MAPPER.readerFor(Names.class);
    private static final byte[] OPERATION = "GetFederationToken".getBytes(StandardCharsets.US_ASCII);
    private static final String[] KEPT = {
        "eventID", "eventTime", "eventSource", "eventName", "userIdentity", "requestParameters"
    };

    private static final AtomicLong BEGAN = new AtomicLong();
    private static final LongAdder SEEN = new LongAdder();
    private static final LongAdder FOUND = new LongAdder();

    public static void main(String[] arguments) throws Exception {
        long count = Long.parseLong(arguments[4]);
        boolean screen = arguments[5].equals("screen");
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(arguments[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .mapValues(value -> finding(value, screen))
                .filter((key, finding) -> finding != null)
                .to(arguments[3], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(arguments[0], arguments[2], arguments[6]));
        streams.start();
        while (SEEN.sum() < count) {
            Thread.sleep(5);
        }
        double seconds = (System.nanoTime() - BEGAN.get()) / 1e9;
        streams.close(); // flushes what was found, commits the offsets
        System.out.printf("{\"messages\": %d, \"seconds\": %f, \"found\": %d}%n", SEEN.sum(), seconds, FOUND.sum());
        System.exit(0);
    }

    private static Properties settings(String bootstrap, String application, String state) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state);
        // A thread a core: https://kafka.apache.org/41/documentation/streams/architecture#streams_architecture_threads
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        // https://docs.confluent.io/cloud/current/client-apps/optimizing/throughput.html
        settings.put(StreamsConfig.consumerPrefix("fetch.min.bytes"), 100_000);
        settings.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 4 << 20);
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 5_000);
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 50);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 200_000);
        return settings;
    }

    private static byte[] finding(byte[] value, boolean screen) {
        if (BEGAN.get() == 0) {
            BEGAN.compareAndSet(0, System.nanoTime());
        }
        try {
            if (screen && !holds(value, OPERATION)) {
                return null;
            }
            Names names = NAMES.readValue(value);
            if (!"sts.amazonaws.com".equals(names.source()) || !"GetFederationToken".equals(names.name())) {
                return null;
            }
            FOUND.increment();
            JsonNode record = MAPPER.readTree(value);
            var finding = MAPPER.createObjectNode();
            Arrays.stream(KEPT).forEach(name -> finding.set(name, record.get(name)));
            return MAPPER.writeValueAsBytes(finding);
        } catch (IOException problem) {
            throw new UncheckedIOException(problem);
        } finally {
            SEEN.increment();
        }
    }

    private static boolean holds(byte[] value, byte[] wanted) {
        int last = value.length - wanted.length;
        for (int at = 0; at <= last; at++) {
            if (value[at] == wanted[0] && Arrays.equals(value, at, at + wanted.length, wanted, 0, wanted.length)) {
                return true;
            }
        }
        return false;
    }
}
