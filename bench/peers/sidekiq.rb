# What `sidekiq -r` loads, and the enqueues: `ruby peers/sidekiq.rb one|bulk COUNT` prints the seconds that they took,
# `stamps COUNT PAUSE` makes one each so many seconds.
require 'sidekiq'

Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch('BENCH_URL') } }
Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch('BENCH_URL') } }

class Noop
  include Sidekiq::Worker
  def perform(number, text); end
end

class Stamp
  include Sidekiq::Worker
  def perform(due)
    late = (Time.now.to_f - due) * 1000
    File.write(ENV.fetch('BENCH_STAMPS'), format("%.3f\n", late), mode: 'a')
  end
end

if $PROGRAM_NAME == __FILE__
  how, count, pause = ARGV[0], ARGV[1].to_i, ARGV[2].to_f
  jobs = (0...count).map { |number| [number, 'twenty characters...'] }
  began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  case how
  when 'bulk'
    jobs.each_slice(1000) { |some| Sidekiq::Client.push_bulk('class' => Noop, 'args' => some) }
  when 'one'
    jobs.each { |arguments| Noop.perform_async(*arguments) }
  when 'stamps'
    count.times do
      Stamp.perform_async(Time.now.to_f)
      sleep pause
    end
  end
  puts Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
end
